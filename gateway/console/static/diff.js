// What an edit changes, word by word, while it is typed.
const MOST = 1500;
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Variation_Selector}\u115f\u1160\u3164\uffa0]/gu;

function words(text) {
  return text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) || [];
}

/** No character may hide, or turn those around it. */
function visible(text) {
  return text.replace(UNSEEN, (c) => c === "\n" || c === "\t" ? c : `⟨U+${c.codePointAt(0).toString(16).toUpperCase()}⟩`);
}

/** Lengths of the longest common subsequences of the two word lists' ends. */
function common(a, b) {
  const width = b.length + 1;
  const table = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      table[i * width + j] = a[i] === b[j]
        ? table[(i + 1) * width + j + 1] + 1
        : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
    }
  }
  return (i, j) => table[i * width + j];
}

/** Runs of [what became of it, text]: "" stayed, "del" went, "ins" came. */
export function diff(before, after) {
  let a = words(before), b = words(after);
  let head = 0, tail = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  while (tail < a.length - head && tail < b.length - head && a.at(-1 - tail) === b.at(-1 - tail)) tail++;
  const start = a.slice(0, head).join(""), end = a.slice(a.length - tail).join("");
  a = a.slice(head, a.length - tail);
  b = b.slice(head, b.length - tail);
  const runs = [["", start]];
  if (a.length > MOST || b.length > MOST) runs.push(["del", a.join("")], ["ins", b.join("")]);
  else runs.push(...gathered(woven(a, b)));
  return [...runs, ["", end]].filter(([, text]) => text);
}

function woven(a, b) {
  const length = common(a, b);
  const runs = [];
  const add = (kind, word) => runs.at(-1)?.[0] === kind ? (runs.at(-1)[1] += word) : runs.push([kind, word]);
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) { add("", a[i++]); j++; }
    else if (j >= b.length || (i < a.length && length(i + 1, j) >= length(i, j + 1))) add("del", a[i++]);
    else add("ins", b[j++]);
  }
  return runs;
}

/** Blanks that stayed between words that did not are no news: what went stands together, then what came. */
function gathered(runs) {
  const out = [];
  let del = "", ins = "";
  const flush = () => { if (del) out.push(["del", del]); if (ins) out.push(["ins", ins]); del = ins = ""; };
  runs.forEach(([kind, text], i) => {
    if (kind === "del") del += text;
    else if (kind === "ins") ins += text;
    else if ((del || ins) && !text.trim() && i < runs.length - 1) { del += text; ins += text; }
    else { flush(); out.push(["", text]); }
  });
  flush();
  return out;
}

function draw(area, original, target) {
  target.replaceChildren(...diff(original.value, area.value).map(([kind, text]) => {
    const node = document.createElement(kind || "span");
    node.textContent = visible(text);
    return node;
  }));
}

export function diffs() {
  for (const area of document.querySelectorAll("textarea[data-diff]")) {
    const original = document.getElementById(area.dataset.original);
    const target = document.getElementById(area.dataset.diff);
    const redraw = () => draw(area, original, target);
    area.addEventListener("input", redraw);
    redraw();
  }
}
