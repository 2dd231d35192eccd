-- wrk script. The kind of load is the first argument:
--     rooms TOKEN PREFIX ROOMS DELAY_MS   /callCatchUp/<prefix><n>, for n from 1 to <rooms> in turn
--     logins PASSWORD ACCOUNTS            logins of that many accounts in turn, all with one password
--     mixed TOKEN DELAY_MS                valid and invalid requests in turn, of which many are not successful
local threads = 0
function setup(thread)
  thread:set("first", threads * 10000019)
  threads = threads + 1
end

local function get(path, authorization)
  local token = authorization and "Authorization: Bearer " .. authorization .. "\r\n" or ""
  return "GET " .. path .. " HTTP/1.1\r\nHost: 127.0.0.1\r\n" .. token .. "\r\n"
end

local n, pause = 0, 0
local kinds = {}

function kinds.rooms(token, prefix, rooms, delay_ms)
  n, pause = first, tonumber(delay_ms)
  if rooms == "1" then
    local one = get("/callCatchUp/" .. prefix .. "1", token)
    return function() return one end
  end
  local start, rest = unpack({ string.match(get("/callCatchUp/" .. prefix .. "@", token), "(.*)@(.*)") })
  rooms = tonumber(rooms)
  return function()
    n = n + 1
    return start .. (n % rooms + 1) .. rest
  end
end

function kinds.logins(password, accounts)
  return function()
    n = n % tonumber(accounts) + 1
    local body = string.format('{"email":"user%d@example.com","password":"%s"}', n, password)
    return wrk.format("POST", "/auth/login", { ["Content-Type"] = "application/json" }, body)
  end
end

function kinds.mixed(token, delay_ms)
  pause = tonumber(delay_ms)
  local requests = {
    function() return get("/callCatchUp/r" .. n % 10, token) end,
    function() return get("/callCatchUp/r" .. n % 1000, token) end,
    function() return get("/callCatchUp/d" .. n, token) end,
    function() return get("/callStatus/r" .. n % 100, token) end,
    function() return get("/callConfig", token) end,
    function() return get("/meetings", token) end,
    function() return get("/auth/joinmember?roomName=r" .. n) end,
    function() return get("/callCatchUp/r1", n .. token) end,
    function() return get("/callCatchUp/r1") end,
    function() return get("/callCatchUp/%2e%2e", token) end,
    function() return get("/nowhere/" .. n, token) end,
  }
  return function()
    n = n + 1
    return requests[n % #requests + 1]()
  end
end

function init(arguments)
  request = kinds[arguments[1]](arguments[2], arguments[3], arguments[4], arguments[5])
  if pause > 0 then
    delay = function() return pause end
  end
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"requests": %d, "seconds": %.6f, "non_2xx": %d, "socket_errors": %d, "p50_us": %.0f, "p99_us": %.0f}',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(50), latency:percentile(99)))
end
