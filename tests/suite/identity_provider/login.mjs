// Logs a user in at the provider, as an app does: authorization code flow with PKCE. It fills in the forms itself.
//
//   node login.mjs ISSUER USER [access_token|id_token]

import { createHash, randomBytes } from "node:crypto";

const [issuer, user, wanted = "access_token"] = process.argv.slice(2);
const redirectUri = "http://127.0.0.1/signed-in";
const resource = "https://proconf.example";

const cookies = new Map();

/** Sends a request of the browser: keeps cookies, and leaves redirects to the caller. */
async function browse(url, form) {
  const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
  const body = form && new URLSearchParams(form);
  const response = await fetch(url, { method: form ? "POST" : "GET", redirect: "manual", headers: { cookie }, body });
  for (const line of response.headers.getSetCookie()) {
    const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
    cookies.set(name, value);
  }
  return response;
}

/** Goes on from `url` to the redirect with the code. Signs in and consents on the way. */
async function codeFrom(url) {
  for (let steps = 0; steps < 10; steps += 1) {
    if (url.href.startsWith(redirectUri)) return url.searchParams.get("code") ?? fail(url.searchParams.get("error_description"));
    let response = await browse(url);
    if (response.status === 200) {
      const page = await response.text();
      const action = /action="([^"]+)"/.exec(page)?.[1] ?? fail("no form");
      const prompt = /name="prompt" value="(\w+)"/.exec(page)?.[1];
      response = await browse(new URL(action, url), { prompt, login: user, password: "any" });
    }
    const location = response.headers.get("location") ?? fail(`${response.status}: ${await response.text()}`);
    url = new URL(location, url);
  }
  return fail("too many redirects");
}

function fail(reason) {
  throw new Error(reason);
}

const endpoints = await (await fetch(`${issuer}/.well-known/openid-configuration`)).json();
const verifier = randomBytes(32).toString("base64url");
const start = new URL(endpoints.authorization_endpoint);
start.search = new URLSearchParams({
  client_id: "app",
  response_type: "code",
  redirect_uri: redirectUri,
  scope: "openid",
  resource,
  state: randomBytes(16).toString("base64url"),
  nonce: randomBytes(16).toString("base64url"),
  code_challenge_method: "S256",
  code_challenge: createHash("sha256").update(verifier).digest("base64url"),
});
const code = await codeFrom(start);
const form = { grant_type: "authorization_code", client_id: "app", code, redirect_uri: redirectUri, code_verifier: verifier, resource };
const response = await fetch(endpoints.token_endpoint, { method: "POST", body: new URLSearchParams(form) });
const tokens = await response.json();
console.log(tokens[wanted] ?? fail(JSON.stringify(tokens)));
