// A Node server optimised for speed: Fastify, undici, fast-jwt. The envelope is parsed to detect errors, and passed on
// unchanged. CACHE=1 turns fast-jwt's token cache on.
'use strict';
const fastify = require('fastify');
const { createVerifier } = require('fast-jwt');
const { Pool } = require('undici');

const { ADMIN_CONTROL_URL, SECRET, CACHE, PORT } = process.env;
const verify = createVerifier({ key: SECRET, algorithms: ['HS256'], cache: CACHE === '1' });
const base = new URL(ADMIN_CONTROL_URL);
const adminControl = new Pool(base.origin, { connections: 256 });
const headers = { 'content-type': 'application/json' };
const failure = (code, message) => ({ data: null, error: { code, message } });

const app = fastify({ logger: false });
app.addHook('onRequest', async (request, reply) => {
  const authorization = request.headers.authorization ?? '';
  try {
    if (!authorization.startsWith('Bearer ')) throw new Error('not a bearer token');
    request.caller = verify(authorization.slice(7));
  } catch {
    return reply.code(401).send(failure(401, 'Unauthorized'));
  }
});
app.get('/callCatchUp/:roomName', async (request, reply) => {
  const path = `${base.pathname}/call-catchup/${encodeURIComponent(request.params.roomName)}`;
  const { statusCode, body } = await adminControl.request({ path, method: 'GET', headers });
  const text = await body.text();
  if (statusCode !== 200 || JSON.parse(text).error !== null) throw new Error('Admin Control failed');
  reply.type('application/json');
  return text;
});
app.setErrorHandler((error, request, reply) => reply.code(500).send(failure(500, 'Internal server error')));
app.listen({ port: Number(PORT), host: '127.0.0.1', backlog: 4096 });
