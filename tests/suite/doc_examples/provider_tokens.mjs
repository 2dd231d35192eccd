// Uses the client of docs/clients/javascript.md with tokens of an identity provider. Exits with 0 if all are accepted.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Proconf } from "./proconf.mjs";

const paths = [];
const plainFetch = globalThis.fetch;
globalThis.fetch = (url, options) => {
  paths.push(new URL(url).pathname);
  return plainFetch(url, options);
};
// The first one has expired when it is used.
const tokens = ["not.a.token", readFileSync("provider_token", "utf8")];
const proconf = new Proconf(process.env.BASE);
await proconf.useTokens(async () => tokens.shift());
const { text } = await proconf.catchUp("testRoom");
assert.match(text, /^Ann opened the call/);
for await (const followed of proconf.follow("testRoom")) {
  assert.equal(typeof followed, "string");
  break;
}
await proconf.signOut();
assert.ok(!paths.some((path) => path.startsWith("/auth/")), "no refresh and no logout");
console.log("accepted");
