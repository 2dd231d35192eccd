// Renews the token through a proxy at $BASE that loses the first response to /auth/refresh.
import { Proconf } from "./proconf.mjs";

const { BASE, EMAIL, PASSWORD } = process.env;
const plainFetch = globalThis.fetch;
let isExpired = false;
globalThis.fetch = (url, options) => {
  const headers = isExpired ? { ...options.headers, Authorization: "Bearer expired" } : options.headers;
  isExpired = false;
  return plainFetch(url, { ...options, headers });
};

const proconf = new Proconf(BASE);
await proconf.signIn(EMAIL, PASSWORD);
isExpired = true;
await proconf.config();
// Its session lives on.
await proconf.config();
console.log("renewed");
