// Asks the gateway with the official SDK what standard input says, and prints what an application would read.
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const Trip = z.object({ city: z.string(), days: z.number() });

function calls(message) {
  return (message.tool_calls ?? []).map((call) => [call.function.name, call.function.arguments]);
}

function ofChat(answer) {
  const [choice] = answer.choices;
  const { content, parsed } = choice.message;
  return { text: content ?? "", end: choice.finish_reason, action: answer.wardgate?.action, calls: calls(choice.message), parsed };
}

function ofResponse(response) {
  const made = response.output.filter((item) => item.type === "function_call");
  return {
    text: response.output_text ?? response.output.flatMap((i) => i.content ?? []).map((c) => c.text ?? "").join(""),
    end: response.status,
    action: response.wardgate?.action,
    calls: made.map((item) => [item.name, item.arguments]),
    parsed: response.output_parsed,
  };
}

async function readChunks(stream) {
  const seen = { text: "", end: null, action: undefined, calls: [] };
  for await (const chunk of stream) {
    seen.action = chunk.wardgate?.action ?? seen.action;
    for (const choice of chunk.choices) {
      seen.text += choice.delta.content ?? "";
      seen.end = choice.finish_reason ?? seen.end;
      for (const call of choice.delta.tool_calls ?? []) {
        const known = (seen.calls[call.index] ??= ["", ""]);
        known[0] += call.function?.name ?? "";
        known[1] += call.function?.arguments ?? "";
      }
    }
  }
  return seen;
}

async function readEvents(stream) {
  let text = "";
  let last;
  for await (const event of stream) {
    if (event.type === "response.output_text.delta") text += event.delta;
    last = event;
  }
  const seen = ofResponse(last.response);
  if (seen.text !== text) throw new Error(`deltas say ${text}, the response ${seen.text}`);
  return seen;
}

// The helper's own snapshot knows no end but `response.completed`; how the answer ended, its last event says.
async function readHelper(runner) {
  let last;
  runner.on("event", (event) => (last = event));
  const seen = ofResponse(await runner.finalResponse());
  return { ...seen, end: last.response.status, action: last.response.wardgate?.action };
}

const WAYS = {
  chat: async (client, body) => ofChat(await client.chat.completions.create(body)),
  stream: async (client, body) => readChunks(await client.chat.completions.create({ ...body, stream: true })),
  helper: async (client, body) => {
    const done = [];
    const runner = client.chat.completions.stream(body);
    runner.on("tool_calls.function.arguments.done", (call) => done.push([call.name, call.arguments]));
    const seen = ofChat(await runner.finalChatCompletion());
    return { ...seen, done };
  },
  parse: async (client, body) =>
    ofChat(await client.chat.completions.parse({ ...body, response_format: zodResponseFormat(Trip, "trip") })),
  parseStream: async (client, body) =>
    ofChat(
      await client.chat.completions
        .stream({ ...body, response_format: zodResponseFormat(Trip, "trip") })
        .finalChatCompletion(),
    ),
  responses: async (client, body) => ofResponse(await client.responses.create(body)),
  responsesStream: async (client, body) => readEvents(await client.responses.create({ ...body, stream: true })),
  responsesHelper: async (client, body) => readHelper(client.responses.stream(body)),
  responsesParse: async (client, body) =>
    ofResponse(await client.responses.parse({ ...body, text: { format: zodTextFormat(Trip, "trip") } })),
  responsesParseStream: async (client, body) =>
    readHelper(client.responses.stream({ ...body, text: { format: zodTextFormat(Trip, "trip") } })),
  completions: async (client, body) => {
    const answer = await client.completions.create(body);
    return { text: answer.choices[0].text, end: answer.choices[0].finish_reason, action: answer.wardgate?.action };
  },
  embeddings: async (client, body) => ({ vectors: (await client.embeddings.create(body)).data.map((row) => row.embedding) }),
  moderations: async (client, body) => ({ flagged: (await client.moderations.create(body)).results.map((r) => r.flagged) }),
  models: async (client) => ({ models: (await client.models.list()).data.map((model) => model.id) }),
};

function told(error) {
  return {
    error: error.constructor.name,
    documented: error instanceof OpenAI.OpenAIError,
    status: error.status,
    code: error.code,
    request: error.requestID,
    left: error.headers?.get?.("x-ratelimit-remaining-requests"),
    retryAfter: error.headers?.get?.("retry-after"),
    message: error.message,
  };
}

let given = "";
for await (const piece of process.stdin) given += piece;
const { base, asks } = JSON.parse(given);
const answers = [];
for (const { way, key, retries, body } of asks) {
  const client = new OpenAI({ baseURL: base, apiKey: key, maxRetries: retries, timeout: 10_000 });
  answers.push(await WAYS[way](client, body).catch(told));
}
console.log(JSON.stringify(answers));
