/**
 * The atomic steps of Redis, in Lua.
 *
 * Scripts are sent as text each time. Sent by digest they would cost the same, and a restarted
 * server would not know them. Each names all its keys, as clusters and compatible servers demand.
 *
 * A write that can be refused for lack of memory comes first in its script, because Redis refuses
 * none that follows a write. Deletions delete before they count, so they work on a full server.
 *
 * @module
 */

/**
 * Reads entries, which count only while the index names them. KEYS: index, entries. ARGV: members.
 */
export const READ = `
local found = {}
for i, member in ipairs(ARGV) do
  found[i] = redis.call('ZSCORE', KEYS[1], member) and redis.call('GET', KEYS[i + 1])
end
return found`;

/**
 * Stores an entry, if its note is the one given. KEYS: index, notes, entry. ARGV: member, entry,
 * milliseconds until it expires or nothing, and the note that must be there.
 */
export const STORE = `
local member, entry, ttl, note = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if note and redis.call('HGET', KEYS[2], member) ~= note then return 0 end
if ttl == '' then redis.call('SET', KEYS[3], entry)
else redis.call('SET', KEYS[3], entry, 'PX', ttl) end
redis.call('ZADD', KEYS[1], 0, member)
if note then redis.call('HDEL', KEYS[2], member) end
redis.call('HINCRBY', KEYS[2], '', 1)
return 1`;

/** Removes entries. KEYS: index, notes, entries. ARGV: whether notes go as well, members. */
export const REMOVE = `
for i = 2, #ARGV do
  redis.call('UNLINK', KEYS[i + 1])
  redis.call('ZREM', KEYS[1], ARGV[i])
  if ARGV[1] == 'notes' then redis.call('HDEL', KEYS[2], ARGV[i]) end
end
redis.call('HINCRBY', KEYS[2], '', 1)
return 0`;

/** Removes from the index what has expired or was evicted. KEYS: index, entries. ARGV: members. */
export const TIDY = `
for i, member in ipairs(ARGV) do
  if redis.call('EXISTS', KEYS[i + 1]) == 0 then redis.call('ZREM', KEYS[1], member) end
end
return 0`;

/** Reads a note and the clock. KEYS: notes. ARGV: member. */
export const LOOK = `return { redis.call('HGET', KEYS[1], ARGV[1]), redis.call('TIME') }`;

/**
 * Replaces a note, if it is the one given. KEYS: notes. ARGV: member, and before and after as
 * pairs: whether there is a note, and the note.
 */
export const REPLACE = `
local before = ARGV[2] == 'note' and ARGV[3]
if redis.call('HGET', KEYS[1], ARGV[1]) ~= before then return 0 end
if ARGV[4] == 'note' then redis.call('HSET', KEYS[1], ARGV[1], ARGV[5])
else redis.call('HDEL', KEYS[1], ARGV[1]) end
redis.call('HINCRBY', KEYS[1], '', 1)
return 1`;
