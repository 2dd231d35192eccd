// An OpenID provider for development and tests: node provider.mjs [PORT] [ADDRESS]
//
// It prints its address, the issuer. Any password is accepted. Lines on standard input change its keys; it confirms each line:
//
//   sign ALG   sign access tokens with another algorithm: RS256, PS256, ES256, ES384, EdDSA
//   rotate     publish new keys and sign with them; the old ones stay published
//   retire     remove the old keys

import { generateKeyPairSync, randomUUID } from "node:crypto";
import { fstatSync } from "node:fs";
import { createServer } from "node:http";
import { createInterface } from "node:readline";

import { Provider } from "oidc-provider";

/** The audience of the access tokens. */
const RESOURCE = "https://proconf.example";

/** What the access token of a user says. Other users have no claims. */
const USERS = {
  ann: { name: "Ann Lee", email: "ann@example.com", realm_access: { roles: ["offline_access", "host"] }, rooms: ["testRoom"] },
  bob: { name: "Bob Ray", email: "bob@example.com", realm_access: { roles: ["offline_access"] }, rooms: [] },
};

const CLIENT = {
  client_id: "app",
  application_type: "native",
  token_endpoint_auth_method: "none",
  redirect_uris: ["http://127.0.0.1/signed-in"],
  grant_types: ["authorization_code"],
  response_types: ["code"],
};

/** The type and the options of each key. */
const KEYS = {
  RSA: ["rsa", { modulusLength: 2048 }],
  ES256: ["ec", { namedCurve: "P-256" }],
  ES384: ["ec", { namedCurve: "P-384" }],
  EdDSA: ["ed25519", {}],
};

/** Private keys as JWKs, newest first. */
let keys = newKeys();
let algorithm = "RS256";
let handle;

function newKeys() {
  return Object.entries(KEYS).map(([name, [type, options]]) => {
    const key = generateKeyPairSync(type, options).privateKey.export({ format: "jwk" });
    return { ...key, kid: `${name}-${randomUUID()}`, use: "sig" };
  });
}

/** Serves with the current keys. Sessions and codes are in memory, and stay. */
function serve(issuer) {
  const provider = new Provider(issuer, {
    clients: [CLIENT],
    jwks: { keys },
    cookies: { keys: ["not a secret: this provider is for development"] },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...USERS[id] }) }),
    extraTokenClaims: (_, { accountId }) => USERS[accountId],
    ttl: { AccessToken: 600, Grant: 3600, IdToken: 600, Interaction: 600, Session: 3600 },
    features: {
      devInteractions: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          audience: RESOURCE,
          scope: "",
          accessTokenFormat: "jwt",
          jwt: { sign: { alg: algorithm, kid: signingKey().kid } },
        }),
      },
    },
  });
  handle = provider.callback();
}

/** The newest key that fits the algorithm. */
function signingKey() {
  const name = /^[RP]S/.test(algorithm) ? "RSA" : algorithm;
  return keys.find(({ kid }) => kid.startsWith(`${name}-`));
}

const [port = "0", address] = process.argv.slice(2);
const server = createServer((request, response) => handle(request, response));
server.listen(Number(port), "127.0.0.1", () => {
  const issuer = address ?? `http://127.0.0.1:${server.address().port}`;
  serve(issuer);
  console.log(issuer);
  const commands = createInterface({ input: process.stdin });
  // A pipe closes when the program that started this one has ended.
  commands.on("close", () => fstatSync(0).isFIFO() && process.exit());
  commands.on("line", (line) => {
    const [command, argument] = line.split(" ");
    if (command === "sign") algorithm = argument;
    else if (command === "rotate") keys = [...newKeys(), ...keys];
    else if (command === "retire") keys = keys.slice(0, Object.keys(KEYS).length);
    else return console.log(`unknown: ${line}`);
    serve(issuer);
    console.log(`done: ${line}`);
  });
});
