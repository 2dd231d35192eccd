//! The scripts that Redis runs, each atomically.

/// Acquires the lease if it is free, and reads response and failure.
///
/// It reads nothing while the followed leader holds the lease.
///
/// Keys: lease, response, failure. Arguments: lease token, lease in ms, token of the followed leader.
pub(super) const LOOK_UP: &str = r"
local token = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and ARGV[1] or redis.call('GET', KEYS[1])
if token == ARGV[3] then return {token, false, 0, false} end
return {token, redis.call('GET', KEYS[2]), redis.call('PTTL', KEYS[2]), redis.call('GET', KEYS[3])}";

/// Renews the lease with this token. Keys: lease. Arguments: lease token, lease in ms.
pub(super) const RENEW: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0";

/// Releases the lease with this token and stores the result.
///
/// Keys: lease, key to set (optional), key to delete (optional). Arguments: lease token, value, its time to live in ms.
pub(super) const RELEASE: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
if KEYS[2] then redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3]) end
if KEYS[3] then redis.call('DEL', KEYS[3]) end
return 1";

/// Runs the commands of the other scripts on one key, and deletes it. An error names the command, which Redis does not.
pub(super) const PROBE: &str = r"
local key = KEYS[1]
for _, command in ipairs({{'SET', key, 'x', 'NX', 'PX', 1000}, {'PTTL', key}, {'PEXPIRE', key, 2000}, {'GET', key}, {'DEL', key}}) do
  local reply = redis.pcall(unpack(command))
  if type(reply) == 'table' and reply.err then return redis.error_reply(reply.err .. ' (' .. command[1] .. ')') end
end
return 1";

/// Creates the command that runs a script.
pub(super) fn script(text: &str, keys: &[impl AsRef<str>]) -> ::redis::Cmd {
    let mut command = ::redis::cmd("EVAL");
    command.arg(text).arg(keys.len());
    for key in keys {
        command.arg(key.as_ref());
    }
    command
}
