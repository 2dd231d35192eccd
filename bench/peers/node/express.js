// The documented Node sample with the usual corrections: Express, axios over persistent connections, jsonwebtoken. With
// KEY=string jsonwebtoken gets the secret as a string, as in the sample; with KEY=object as a key object created once.
const { createSecretKey } = require('node:crypto');
const http = require('node:http');
const axios = require('axios');
const express = require('express');
const jwt = require('jsonwebtoken');

const { ADMIN_CONTROL_URL, SECRET, KEY, PORT } = process.env;
const key = KEY === 'object' ? createSecretKey(Buffer.from(SECRET)) : SECRET;
const adminControl = axios.create({
  baseURL: ADMIN_CONTROL_URL,
  headers: { 'Content-type': 'application/json' },
  httpAgent: new http.Agent({ keepAlive: true }),
});
const failure = (code, message) => ({ data: null, error: { code, message } });

const authenticate = (req, res, next) => {
  const [scheme, token] = (req.headers.authorization ?? '').split(' ');
  try {
    if (scheme !== 'Bearer') throw new Error('not a bearer token');
    req.caller = jwt.verify(token, key, { algorithms: ['HS256'] });
    next();
  } catch {
    res.status(401).json(failure(401, 'Unauthorized'));
  }
};

const app = express();
app.get('/callCatchUp/:roomName', authenticate, async (req, res) => {
  const { data: envelope } = await adminControl.get(`/call-catchup/${encodeURIComponent(req.params.roomName)}`);
  if (envelope.error !== null) throw new Error('Admin Control failed');
  res.json({ error: null, data: envelope.data });
});
app.use((req, res) => res.status(404).json(failure(404, 'Not found')));
app.use((error, req, res, next) => res.status(500).json(failure(500, 'Internal server error')));
app.listen(Number(PORT), '127.0.0.1', 4096);
