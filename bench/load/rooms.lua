-- wrk script: /callCatchUp/<prefix><n> with a token, for n from 1 to <rooms> in turn.
--     wrk … -s rooms.lua URL -- TOKEN PREFIX ROOMS [DELAY_MS]
local threads = 0
function setup(thread)
  thread:set("first", threads * 10000019)
  threads = threads + 1
end

function init(args)
  local start = "GET /callCatchUp/" .. args[2]
  local rest = " HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " .. args[1] .. "\r\n\r\n"
  local rooms, n = tonumber(args[3]), first
  local one = start .. "1" .. rest
  if rooms == 1 then
    request = function() return one end
  else
    request = function()
      n = n + 1
      return start .. (n % rooms + 1) .. rest
    end
  end
  local pause = tonumber(args[4] or "0")
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
