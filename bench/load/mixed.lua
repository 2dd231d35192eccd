-- wrk script: a mix of valid and invalid requests at a steady pace. About 30 % of the responses are not successful, so they
-- are not counted as errors.
--     wrk … -s mixed.lua URL -- TOKEN DELAY_MS
function init(args)
  local good = "Bearer " .. args[1]
  local n = 0
  local function get(path, authorization)
    local token = authorization and "Authorization: " .. authorization .. "\r\n" or ""
    return "GET " .. path .. " HTTP/1.1\r\nHost: 127.0.0.1\r\n" .. token .. "\r\n"
  end
  local kinds = {
    function() return get("/callCatchUp/r" .. n % 10, good) end,
    function() return get("/callCatchUp/r" .. n % 1000, good) end,
    function() return get("/callCatchUp/d" .. n, good) end,
    function() return get("/callStatus/r" .. n % 100, good) end,
    function() return get("/callConfig", good) end,
    function() return get("/meetings", good) end,
    function() return get("/auth/joinmember?roomName=r" .. n, nil) end,
    function() return get("/callCatchUp/r1", "Bearer " .. n .. args[1]) end,
    function() return get("/callCatchUp/r1", nil) end,
    function() return get("/callCatchUp/%2e%2e", good) end,
    function() return get("/nowhere/" .. n, good) end,
  }
  request = function()
    n = n + 1
    return kinds[n % #kinds + 1]()
  end
  local pause = tonumber(args[2])
  delay = function() return pause end
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"requests": %d, "seconds": %.6f, "non_2xx": %d, "socket_errors": %d, "p50_us": %.0f, "p99_us": %.0f}',
    summary.requests, summary.duration / 1e6, 0,
    errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(50), latency:percentile(99)))
end
