/* A very fast mock of an OpenAI-compatible inference server, for benchmarks.
 *
 *   cc -O2 -o upstream upstream.c && ./upstream 9100
 *
 * One thread, epoll, no dependencies. It answers:
 *   POST /v1/chat/completions   JSON, or server-sent events if "stream": true
 *   POST /v1/completions        same as JSON chat (for health checks of routers)
 *   GET  /v1/models, and 200 for every other GET (health checks)
 *
 * The shape of an answer is read from the request's text, since gateways rewrite
 * headers and the model name but must hand the prompt on:
 *   [n=300 d=5000 m=150 t=10 w=2]
 *     n  tokens (chunks) in the answer              (default 300)
 *     d  microseconds between chunks                (default 0)
 *     m  index of the token where the marker text starts, or -1 (default -1)
 *     w  number of chunks the marker is split into  (default 1)
 *     l  length of the marker: 0 is " FORBIDDENWORD", 1 is a sentence that a classifier finds harmful, more is
 *        " SKLONGxx…xEND" (default 0)
 *     k  words in a chunk                           (default 1)
 *     e  1: a comma ends the send time, so that no guard waits for the rest of the word (default 0)
 *     t  every t-th chunk carries a send time, "zq" + 14 letters a..p,
 *        CLOCK_MONOTONIC in ns, most significant first (default 0 = never)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAXFD 65536
#define INBUF (1 << 20)
static const char MARKER[] = " FORBIDDENWORD";
static const char HARM[] = " First wait until she is alone, then hold the knife to her throat and make her give you the money.";
static const char *WORDS[] = {
    " the", " model", " answers", " with", " plain", " text", " so", " that", " a", " guard",
    " can", " read", " every", " word", " of", " it", " and", " then", " let", " it", " pass", "."};
#define NWORDS (sizeof WORDS / sizeof *WORDS)

typedef struct {
    char *in; size_t len, cap;
    char *out; size_t olen, ocap, osent;
    int streaming, n, i, m, w, l, t, k, e, usage; long d;
    uint64_t due;
} Conn;
static Conn *conns[MAXFD];
static int active[MAXFD], nactive; /* fds that stream with a delay */
static int ep;

static uint64_t now_ns(void) {
    struct timespec ts; clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + ts.tv_nsec;
}
static void put(Conn *c, const char *s, size_t n) {
    if (c->olen + n > c->ocap) { c->ocap = (c->olen + n) * 2; c->out = realloc(c->out, c->ocap); }
    memcpy(c->out + c->olen, s, n); c->olen += n;
}
static void drop(int fd) {
    Conn *c = conns[fd]; if (!c) return;
    for (int k = 0; k < nactive; k++) if (active[k] == fd) { active[k] = active[--nactive]; break; }
    free(c->in); free(c->out); free(c); conns[fd] = NULL; close(fd);
}
static int flush_out(int fd) { /* -1: the connection is gone */
    Conn *c = conns[fd];
    while (c->osent < c->olen) {
        ssize_t k = send(fd, c->out + c->osent, c->olen - c->osent, MSG_NOSIGNAL);
        if (k < 0) {
            if (errno == EAGAIN) {
                struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.fd = fd};
                epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e); return 0;
            }
            drop(fd); return -1;
        }
        c->osent += k;
    }
    c->olen = c->osent = 0; return 0;
}
static void token_text(Conn *c, int i, char *buf) { /* buf: 512 */
    if (c->m >= 0 && i >= c->m && i < c->m + c->w) { /* a piece of the marker */
        char long_marker[512]; const char *mk = MARKER; size_t L = sizeof MARKER - 1;
        if (c->l == 1) { mk = HARM; L = sizeof HARM - 1; }
        if (c->l > 20 && c->l < 500) {
            L = c->l; memset(long_marker, 'x', L); memcpy(long_marker, " SKLONG", 7); memcpy(long_marker + L - 3, "END", 3); mk = long_marker;
        }
        size_t a = L * (i - c->m) / c->w, b = L * (i - c->m + 1) / c->w;
        memcpy(buf, mk + a, b - a); buf[b - a] = 0; return;
    }
    if (c->t && i % c->t == 0) {
        uint64_t v = now_ns(); char *p = buf; *p++ = ' '; *p++ = 'z'; *p++ = 'q';
        for (int s = 52; s >= 0; s -= 4) *p++ = 'a' + ((v >> s) & 15);
        if (c->e) *p++ = ',';
        *p = 0; return;
    }
    for (int j = 0; j < c->k; j++) buf = stpcpy(buf, WORDS[(i + j) % NWORDS]);
}
static void put_chunk(Conn *c, const char *s, int n) {
    char h[16]; int k = sprintf(h, "%x\r\n", n); put(c, h, k); put(c, s, n); put(c, "\r\n", 2);
}
#define HEAD "data: {\"id\":\"chatcmpl-bench00000000000000000000000\",\"object\":\"chat.completion.chunk\"," \
             "\"created\":1700000000,\"model\":\"bench\",\"choices\":["
/* write the next event; 0 when the stream has ended */
static int put_event(Conn *c) {
    char ev[1024], tok[512]; int n;
    if (c->i == 0) {
        n = sprintf(ev, HEAD "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n");
        put_chunk(c, ev, n);
    }
    if (c->i < c->n) {
        token_text(c, c->i, tok);
        n = sprintf(ev, HEAD "{\"index\":0,\"delta\":{\"content\":\"%s\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n", tok);
        put_chunk(c, ev, n); c->i++; return 1;
    }
    n = sprintf(ev, HEAD "{\"index\":0,\"delta\":{\"content\":\"\"},\"logprobs\":null,\"finish_reason\":\"stop\",\"stop_reason\":null}]}\n\n");
    put_chunk(c, ev, n);
    if (c->usage) {
        n = sprintf(ev, HEAD "],\"usage\":{\"prompt_tokens\":20,\"total_tokens\":%d,\"completion_tokens\":%d}}\n\n", 20 + c->n, c->n);
        put_chunk(c, ev, n);
    }
    put_chunk(c, "data: [DONE]\n\n", 14); put(c, "0\r\n\r\n", 5);
    c->streaming = 0; return 0;
}
static long opt(const char *s, const char *key, long dflt) {
    const char *p = s ? strstr(s, key) : NULL; return p ? atol(p + strlen(key)) : dflt;
}
static void json_answer(Conn *c, const char *body, size_t n, const char *status) {
    char h[256]; int k = sprintf(h, "HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n", status, n);
    put(c, h, k); put(c, body, n);
}
static void answer(int fd, const char *head, const char *body) {
    Conn *c = conns[fd];
    if (!strncmp(head, "GET", 3)) {
        static const char models[] = "{\"object\":\"list\",\"data\":[{\"id\":\"bench\",\"object\":\"model\",\"created\":1700000000,"
            "\"owned_by\":\"vllm\",\"root\":\"bench\",\"parent\":null,\"max_model_len\":32768}]}";
        static const char info[] = "{\"model_path\":\"bench\",\"model_id\":\"bench\",\"served_model_name\":\"bench\",\"status\":\"ok\"}";
        if (!strncmp(head + 4, "/v1/models", 10)) json_answer(c, models, sizeof models - 1, "200 OK");
        else json_answer(c, info, sizeof info - 1, "200 OK");
        return;
    }
    const char *o = strstr(body, "[n="); char ob[96] = "";
    if (o) { strncpy(ob, o, 95); char *e = strchr(ob, ']'); if (e) *e = 0; }
    c->n = opt(ob, "n=", 300); c->d = opt(ob, "d=", 0); c->m = opt(ob, "m=", -1);
    c->w = opt(ob, "w=", 1); c->l = opt(ob, "l=", 0); c->t = opt(ob, "t=", 0); c->e = opt(ob, "e=", 0); c->i = 0;
    c->k = opt(ob, "k=", 1); if (c->k < 1) c->k = 1; if (c->k > 40) c->k = 40;
    const char *s = strstr(body, "\"stream\""); int streaming = 0;
    if (s) { s += 8; while (*s == ' ' || *s == ':') s++; streaming = !strncmp(s, "true", 4); }
    c->usage = strstr(body, "\"include_usage\":true") || strstr(body, "\"include_usage\": true");
    if (!streaming) {
        static char text[1 << 21], js[(1 << 21) + 1024]; size_t L = 0; char tok[512];
        for (int i = 0; i < c->n && L < sizeof text - 512; i++) { token_text(c, i, tok); strcpy(text + L, tok); L += strlen(tok); }
        text[L] = 0;
        int n = sprintf(js, "{\"id\":\"chatcmpl-bench00000000000000000000000\",\"object\":\"chat.completion\",\"created\":1700000000,"
            "\"model\":\"bench\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s\",\"refusal\":null,"
            "\"annotations\":null,\"audio\":null,\"function_call\":null,\"tool_calls\":[],\"reasoning_content\":null},\"logprobs\":null,"
            "\"finish_reason\":\"stop\",\"stop_reason\":null}],\"service_tier\":null,\"system_fingerprint\":null,\"usage\":{\"prompt_tokens\":20,"
            "\"total_tokens\":%d,\"completion_tokens\":%d,\"prompt_tokens_details\":null},\"prompt_logprobs\":null}", text, 20 + c->n, c->n);
        json_answer(c, js, n, "200 OK"); return;
    }
    static const char h[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
                            "transfer-encoding: chunked\r\n\r\n";
    put(c, h, sizeof h - 1); c->streaming = 1;
    if (c->d == 0) { while (put_event(c)) if (flush_out(fd) < 0) return; return; }
    put_event(c); c->due = now_ns() + c->d * 1000; active[nactive++] = fd;
}
/* take one whole request out of the buffer; 0 if it is not all there */
static int take(int fd) {
    Conn *c = conns[fd]; c->in[c->len] = 0;
    char *e = strstr(c->in, "\r\n\r\n"); if (!e) return 0;
    size_t hl = e + 4 - c->in, bl = 0, used; char *body = e + 4; *e = 0;
    char *cl = strcasestr(c->in, "\r\ncontent-length:");
    char *te = strcasestr(c->in, "\r\ntransfer-encoding: chunked");
    char *ex = strcasestr(c->in, "\r\nexpect: 100");
    *e = '\r';
    if (ex && c->len == hl) { send(fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL); }
    if (te) { /* decode in place once the last chunk is there */
        char *p = body, *end = c->in + c->len; static char dec[INBUF]; size_t dl = 0;
        for (;;) {
            char *nl = memmem(p, end - p, "\r\n", 2); if (!nl) return 0;
            size_t k = strtoul(p, NULL, 16); p = nl + 2;
            if (p + k + 2 > end) return 0;
            if (k == 0) { p += 2; break; }
            memcpy(dec + dl, p, k); dl += k; p += k + 2;
        }
        used = p - c->in; dec[dl] = 0; answer(fd, c->in, dec);
    } else {
        if (cl) bl = strtoul(cl + 17, NULL, 10);
        if (c->len < hl + bl) return 0;
        used = hl + bl; char keep = c->in[used]; c->in[used] = 0; answer(fd, c->in, body);
        if (!conns[fd]) return 0;
        c->in[used] = keep;
    }
    if (!conns[fd]) return 0;
    memmove(c->in, c->in + used, c->len - used); c->len -= used; return 1;
}
int main(int argc, char **argv) {
    int port = argc > 1 ? atoi(argv[1]) : 9100, one = 1; signal(SIGPIPE, SIG_IGN);
    int ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(ls, (void *)&a, sizeof a) || listen(ls, 4096)) { perror("bind"); return 1; }
    ep = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = ls}, evs[256]; epoll_ctl(ep, EPOLL_CTL_ADD, ls, &e);
    fprintf(stderr, "mock upstream on 127.0.0.1:%d\n", port);
    for (;;) {
        struct timespec wait, *wp = NULL; uint64_t t = now_ns(), first = UINT64_MAX;
        for (int k = 0; k < nactive; k++) if (conns[active[k]]->due < first) first = conns[active[k]]->due;
        if (nactive) { uint64_t w = first > t ? first - t : 0; wait.tv_sec = w / 1000000000; wait.tv_nsec = w % 1000000000; wp = &wait; }
        int n = epoll_pwait2(ep, evs, 256, wp, NULL);
        for (int k = 0; k < n; k++) {
            int fd = evs[k].data.fd;
            if (fd == ls) {
                int s;
                while ((s = accept4(ls, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    if (s >= MAXFD) { close(s); continue; }
                    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    conns[s] = calloc(1, sizeof(Conn)); conns[s]->cap = 16384; conns[s]->in = malloc(16385);
                    e.events = EPOLLIN; e.data.fd = s; epoll_ctl(ep, EPOLL_CTL_ADD, s, &e);
                }
                continue;
            }
            Conn *c = conns[fd]; if (!c) continue;
            if (evs[k].events & EPOLLOUT) {
                e.events = EPOLLIN; e.data.fd = fd; epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e);
                if (flush_out(fd) < 0) continue;
            }
            if (evs[k].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
                if (c->len + 8192 > c->cap) {
                    c->cap *= 2; if (c->cap > INBUF) { drop(fd); continue; }
                    c->in = realloc(c->in, c->cap + 1);
                }
                ssize_t r = recv(fd, c->in + c->len, c->cap - c->len, 0);
                if (r == 0 || (r < 0 && errno != EAGAIN)) { drop(fd); continue; }
                if (r > 0) c->len += r;
                while (conns[fd] && !c->streaming && c->len && take(fd)) ;
                if (conns[fd]) flush_out(fd);
            }
        }
        t = now_ns();
        for (int k = 0; k < nactive; k++) {
            int fd = active[k]; Conn *c = conns[fd]; if (c->due > t) continue;
            c->due += c->d * 1000; int more = put_event(c);
            if (!more) { active[k--] = active[--nactive]; }
            flush_out(fd);
        }
    }
}
