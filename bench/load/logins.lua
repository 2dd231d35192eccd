-- wrk script: logins of <accounts> accounts in turn, all with one password.
--     wrk … -s logins.lua URL -- PASSWORD ACCOUNTS
function init(args)
  local accounts, n = tonumber(args[2]), 0
  request = function()
    n = n % accounts + 1
    local body = string.format('{"email":"user%d@example.com","password":"%s"}', n, args[1])
    return wrk.format("POST", "/auth/login", { ["Content-Type"] = "application/json" }, body)
  end
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"requests": %d, "seconds": %.6f, "non_2xx": %d, "socket_errors": %d, "p50_us": %.0f, "p99_us": %.0f}',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(50), latency:percentile(99)))
end
