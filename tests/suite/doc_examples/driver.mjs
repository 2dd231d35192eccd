// Tests the client of docs/clients/javascript.md against the statements of its page. Exits with 0 if all are true.
import assert from "node:assert/strict";
import { ApiError, Proconf } from "./proconf.mjs";

const { BASE, SANDBOX, EMAIL, PASSWORD } = process.env;
const set = async (path, reply) => {
  const response = await fetch(`${SANDBOX}/replies/${path}`, { method: "PUT", body: JSON.stringify(reply) });
  assert.equal(response.status, 200, await response.text());
};
const countCalls = async () => (await (await fetch(`${SANDBOX}/requests`)).json()).data.total;
// Counts the requests by route, and replaces their tokens by invalid ones if `invalidate` is set.
const sent = {};
let invalidate = false;
// Requests that a captive portal answers with its login page.
let portal = 0;
const plainFetch = globalThis.fetch;
globalThis.fetch = (url, options) => {
  const { pathname } = new URL(url);
  if (url.startsWith(BASE)) sent[pathname] = (sent[pathname] ?? 0) + 1;
  if (invalidate && options.headers.Authorization) {
    options = { ...options, headers: { ...options.headers, Authorization: "Bearer not.a.token" } };
  }
  if (url.startsWith(BASE) && portal > 0) {
    portal--;
    return Promise.resolve(new Response("<html></html>", { headers: { "Content-Type": "text/html" } }));
  }
  return plainFetch(url, options);
};
const fails = (promise, status) =>
  assert.rejects(promise, (error) => error instanceof ApiError && error.status === status && error.requestId.length > 0);

const proconf = new Proconf(`${BASE}/`);
await fails(proconf.catchUp("testRoom"), 401);
await fails(proconf.signIn(EMAIL, "a wrong password"), 401);
await proconf.signIn(EMAIL, PASSWORD);

// The second response is a 304.
await set("call-catchup/testRoom", { data: "One." });
assert.deepEqual(await proconf.catchUp("testRoom"), { text: "One.", isNew: true, age: 0 });
assert.deepEqual(await proconf.catchUp("testRoom"), { text: "One.", isNew: false, age: 0 });
await set("call-catchup/testRoom", { data: "One. Two." });
assert.equal((await proconf.catchUp("testRoom")).text, "One. Two.");

// Room names that some libraries encode wrongly.
for (const room of ["a b", "a+b", "Q&A #1: 100%", "a?b=c", "комната", "🎥 ünï", " lead", "%41", "a;b", "x".repeat(255)]) {
  await set(`call-catchup/${encodeURIComponent(room)}`, { data: `of ${room}` });
  assert.equal((await proconf.catchUp(room)).text, `of ${room}`);
}
for (const room of ["", " ", "..", "a/b", "%2f", "\n", "x".repeat(256)]) {
  await fails(proconf.catchUp(room), 400);
}

// Twenty concurrent requests that get a 401 share one renewal.
invalidate = true;
const twenty = Array.from({ length: 20 }, () => proconf.catchUp("testRoom"));
await new Promise((resolve) => setImmediate(resolve));
invalidate = false;
await Promise.all(twenty);
assert.equal(sent["/auth/refresh"], 1);

// The other methods.
assert.equal(typeof (await proconf.config()).features, "object");
assert.equal(typeof (await proconf.status("testRoom")).transcript_status, "boolean");
assert.equal((await proconf.meetings())[0].room_name, "endedRoom");
assert.equal((await proconf.callToken("member", "testRoom", "Ann")).split(".").length, 3);
await fails(proconf.callToken("king", "testRoom", "Ann"), 403);

// `watch` yields each text once, and survives failures.
const watching = new AbortController();
const seen = [];
await set("call-catchup/testRoom", { data: "1" });
for await (const text of proconf.watch("testRoom", { every: 10, signal: watching.signal })) {
  seen.push(text);
  if (text === "1") {
    await set("call-catchup/testRoom", { status: 500, times: 2 });
    portal = 2;
    setTimeout(() => set("call-catchup/testRoom", { data: "2" }), 100);
  }
  if (text === "2") watching.abort();
}
assert.deepEqual(seen.filter((text) => text === "1" || text === "2"), ["1", "2"]);

// `follow` yields each text once and whole, survives failures, and ends with the meeting or when it is aborted.
const following = new AbortController();
const followed = [];
const odd = "4: \u2028 \u2029 ü\n\ndata: {}\r\n🎥";
await set("call-catchup/testRoom", { data: "3" });
for await (const text of proconf.follow("testRoom", { signal: following.signal })) {
  followed.push(text);
  if (text === "3") await set("call-catchup/testRoom", { data: odd });
  if (text === odd) following.abort();
}
assert.deepEqual(followed.filter((text) => text !== "2"), ["3", odd]);
for await (const text of proconf.follow("endedRoom")) assert.fail(text);
await fails(proconf.follow(" ").next(), 400);
await set("call-catchup/testRoom", { data: "2" });

// A guest has access to its own room only, and gets a new token when its own has expired.
const guest = new Proconf(BASE);
await guest.joinAsGuest("testRoom");
await fails(guest.catchUp("quietRoom"), 403);
await fails(guest.follow("quietRoom").next(), 403);
await fails(guest.meetings(), 403);
invalidate = true;
const late = guest.catchUp("testRoom");
await new Promise((resolve) => setImmediate(resolve));
invalidate = false;
assert.equal((await late).text, "2");
assert.equal(sent["/auth/joinmember"], 2);

// After a logout each request fails with 401.
await proconf.signOut();
await fails(proconf.catchUp("testRoom"), 401);
assert.ok((await countCalls()) > 0);
console.log("all statements are true");
