// What a team writes that follows the documented Node sample for each route, with a token check of the usual kind. It is
// here to be judged by the conformance suite, not to be used.
const axios = require('axios');
const express = require('express');
const jwt = require('jsonwebtoken');

const { ADMIN_BACKEND_URL, SECRET, PORT } = process.env;
const headers = { 'Content-type': 'application/json' };

const app = express();
app.use(express.json());

// The sample leaves the check of the token to its reader; this is the usual one.
const authenticate = (req, res, next) => {
  try {
    req.caller = jwt.verify((req.headers.authorization || '').replace('Bearer ', ''), SECRET);
    next();
  } catch (error) {
    res.status(401).json({ data: null, error: { code: 401, message: 'Unauthorized' } });
  }
};

// The sample's shape: call Admin Control with the name as it came, and return { error: null, data: response }. Its response
// is axios's, which can't be serialised, so the reader soon writes response.data.
const passOn = (endpoint) => async (req, res) => {
  const roomName = req.params.roomName || req.query.roomName;
  if (!roomName) {
    return res.status(400).json({ data: null, error: { code: 400, message: 'Room name required in query param.' } });
  }
  const response = await axios.get(ADMIN_BACKEND_URL + endpoint + '/' + roomName, { headers });
  res.json({ error: null, data: response.data });
};

for (const [route, endpoint] of [['/callCatchUp', '/call-catchup'], ['/callStatus', '/sessions-status'], ['/callSummary', '/call-summary']]) {
  app.get(route, authenticate, passOn(endpoint));
  app.get(route + '/:roomName', authenticate, passOn(endpoint));
}
for (const [route, endpoint] of [['/callConfig', '/configuration'], ['/meetings', '/meetings']]) {
  app.get(route, authenticate, async (req, res) => {
    const response = await axios.get(ADMIN_BACKEND_URL + endpoint, { headers });
    res.json({ error: null, data: response.data });
  });
}
app.post('/proconfToken', authenticate, async (req, res) => {
  const { role, room, participantName } = req.body;
  const response = await axios.post(ADMIN_BACKEND_URL + '/proconf-token', { role, room, participantName }, { headers });
  res.json({ error: null, data: response.data });
});
app.get('/auth/joinmember', (req, res) => {
  const userId = Math.random().toString(36).slice(2);
  res.json({ error: null, data: jwt.sign({ roomName: req.query.roomName, userId }, SECRET, { expiresIn: '4h' }) });
});

app.use((req, res) => res.status(404).json({ error: { code: 404, message: 'Not found' }, data: null }));
app.use((error, req, res, next) => res.status(500).json({ error: { code: 500, message: error.message }, data: null }));

const server = app.listen(Number(PORT), '127.0.0.1', () => console.log(`listening on ${server.address().port}`));
