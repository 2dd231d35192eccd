//! What Redis does in one step, in its own language. The steps of one script are seen by nobody else in between.
//!
//! Whatever else stands at our keys (of another kind, too large, or there for good) is as good as nothing, and written over.

use super::entry::{DIGITS, OWNER};

/// Looks for an answer and, if there is none and nobody is getting one, takes the lease; in one step.
/// Keys: answer, lease, failure. Arguments: who asks, the lease in ms, the greatest age in ms, whom it waited for, the largest
/// entry in bytes, the longest lease of anybody in ms. Nobody who asks only looks.
pub(super) const LOOK: &str = r"
local function text(key, longest)
  local found = redis.pcall('GETRANGE', key, 0, longest - 1)
  return type(found) == 'string' and found ~= '' and found
end
local size = redis.pcall('STRLEN', KEYS[1])
local stored = type(size) == 'number' and size <= tonumber(ARGV[5]) and text(KEYS[1], size)
if stored then
  local left, kept = redis.call('PTTL', KEYS[1]), tonumber(string.sub(stored, 5, 14))
  local age = kept and left > 0 and kept - left
  if age and (age < tonumber(ARGV[3]) or string.sub(stored, 15, 36) == ARGV[4]) then return {'answer', stored, left} end
end
if ARGV[1] == '' then return {'nothing'} end
local failure = ARGV[4] ~= '' and text(KEYS[3], 100)
if failure and string.sub(failure, 1, #ARGV[4]) == ARGV[4] then return {'failed', string.sub(failure, #ARGV[4] + 1)} end
local holder, left = text(KEYS[2], 23), redis.call('PTTL', KEYS[2])
if holder and #holder == 22 and left > 0 and left <= tonumber(ARGV[6]) then return {'wait', holder, left} end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return {'lead'}";
const _: () = assert!(DIGITS == 10 && OWNER == 22, "the script reads these places");

/// Keys: lease. Arguments: who, the lease in ms.
pub(super) const RENEW: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0";

/// Says what came of a call, if its lease still holds. That there is nothing any more takes the old answer away also where
/// nobody has the lease: a call that was made without one knows it as well. Keys: answer, lease, failure.
/// Arguments: who, what, the entry or the failure's name, its time in ms, the channel.
pub(super) const TELL: &str = r"
local holder = redis.call('GET', KEYS[2])
if holder ~= ARGV[1] then
  if not holder and ARGV[2] == 'gone' then redis.call('DEL', KEYS[1]) end
  return 0
end
redis.call('DEL', KEYS[2])
if ARGV[2] == 'answer' then
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
else
  if ARGV[2] == 'gone' then redis.call('DEL', KEYS[1]) end
  redis.call('SET', KEYS[3], ARGV[1] .. ARGV[3], 'PX', ARGV[4])
end
redis.call('PUBLISH', ARGV[5], KEYS[2])
return 1";

/// Does what the others do, so that a Redis that lacks room or a right to one of them says so; seen by nobody in between.
/// Keys: one of its own. Arguments: the channel.
pub(super) const PROVE: &str = r"
redis.call('SET', KEYS[1], 'x', 'PX', 1000)
redis.call('GETRANGE', KEYS[1], 0, redis.call('STRLEN', KEYS[1]))
redis.call('PEXPIRE', KEYS[1], redis.call('PTTL', KEYS[1]) + 1000)
redis.call('GET', KEYS[1])
redis.call('PUBLISH', ARGV[1], '')
return redis.call('DEL', KEYS[1])";
