"""The queue's transitions, each a script: nobody sees half of one, and nobody decides twice.

All keys begin with the prefix, whose hash tag keeps them in one slot of a cluster. Times are milliseconds.
"""

from __future__ import annotations

from gateway.review.ledger import Ledger

COMMON = """
local P, now = KEYS[1], tonumber(ARGV[1])
local function key(...) return P .. ':' .. table.concat({...}, ':') end
local function get(id, field) return redis.call('HGET', key('case', id), field) end
local function set(id, ...) redis.call('HSET', key('case', id), ...) end
local function tenant(id) return get(id, 'tenant') end

local function changed(id)
  local said = {case = id, tenant = tenant(id), state = get(id, 'state')}
  redis.call('PUBLISH', P .. ':changed', cjson.encode(said))
end

local function idle(id)
  local t = tenant(id)
  local holder = key('holder', t, get(id, 'reviewer') or '')
  if redis.call('GET', holder) == id then redis.call('DEL', holder) end
  redis.call('ZREM', key('leased'), id)
  redis.call('HDEL', key('case', id), 'token', 'expires')
end

local function ready(id)
  set(id, 'state', 'open')
  redis.call('ZADD', key('ready', tenant(id), get(id, 'level')), get(id, 'rank'), id)
end

local function sweep()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('leased'), '-inf', now, 'LIMIT', 0, 100)) do
    idle(id)
    ready(id)
    changed(id)
  end
end

local function take(id, reviewer, lease)
  local t, token = tenant(id), redis.call('INCR', P .. ':fence')
  redis.call('ZREM', key('ready', t, get(id, 'level')), id)
  set(id, 'state', 'leased', 'reviewer', reviewer, 'token', token, 'expires', now + lease)
  redis.call('ZADD', key('leased'), now + lease, id)
  redis.call('SET', key('holder', t, reviewer), id)
  changed(id)
  return {id, token, now + lease}
end

local function late(id)
  local deadline = tonumber(get(id, 'deadline') or 0)
  return deadline > 0 and deadline <= now and not get(id, 'closed')
end

local function holds(id, reviewer, token)
  return not late(id) and get(id, 'state') == 'leased' and get(id, 'reviewer') == reviewer and get(id, 'token') == token
    and tonumber(get(id, 'expires')) > now
end

local function close(id, superseded)
  local t, before, after = tenant(id), get(id, 'outcome'), get(id, 'pending')
  local same = before and string.match(before, '^(%S+) ') == string.match(after, '^(%S+) ')
  set(id, 'outcome', after)
  redis.call('HDEL', key('case', id), 'pending', 'effective', 'said', 'was', 'phase_was')
  if not get(id, 'closed') then set(id, 'closed', now) end
  redis.call('ZREM', key('due'), id)
  redis.call('SREM', key('deciding', t), id)
  redis.call('ZADD', key('closed', t), now, id)
  redis.call('ZADD', P .. ':closed', now, id)
  if not same then
    redis.call('XADD', P .. ':decided', 'MAXLEN', '~', 100000, '*', 'case', id, 'tenant', t, 'at', now,
      'superseded', superseded and 1 or 0)
  end
  if get(id, 'again') == '1' and get(id, 'phase') == 'first' then
    set(id, 'phase', 'second', 'level', 'reviewer')
    ready(id)
  else
    set(id, 'state', 'closed')
    redis.call('ZREM', key('open', t), id)
    redis.call('ZREM', key('opened', t), id)
  end
  changed(id)
end

local function decide(id, entry, undo)
  local at, deadline = now + undo, tonumber(get(id, 'deadline') or 0)
  if deadline > now and deadline < at and not get(id, 'closed') then at = deadline end
  set(id, 'pending', entry, 'effective', at, 'state', 'deciding')
  redis.call('SADD', key('deciding', tenant(id)), id)
  redis.call('ZADD', key('due'), at, id)
  if at <= now then close(id, get(id, 'closed')) end
end

local function senior(id)
  set(id, 'level', 'senior')
  ready(id)
end
"""

OPEN = """
local id, t = ARGV[2], ARGV[3]
if redis.call('EXISTS', key('case', id)) == 1 then return 0 end
set(id, 'case', ARGV[4], 'matter', ARGV[5], 'tenant', t, 'level', 'reviewer', 'phase', 'first', 'rank', ARGV[6],
  'need', ARGV[7], 'undo', ARGV[8], 'again', ARGV[9])
if ARGV[10] ~= '' then
  set(id, 'deadline', ARGV[10])
  redis.call('ZADD', key('due'), ARGV[10], id)
end
redis.call('ZADD', key('open', t), ARGV[6], id)
redis.call('ZADD', key('opened', t), ARGV[11], id)
for answer in string.gmatch(ARGV[12], '%S+') do redis.call('HSET', key('answers', t), answer, id) end
if ARGV[13] ~= '' then redis.call('SADD', key('user', t, ARGV[13]), id) end
ready(id)
changed(id)
return 1
"""
"""ARGV from 2: id, tenant, case, matter, rank, reviews, undo, second, deadline, opened, answer ids, user."""

CLAIM = """
local t, reviewer, level, wanted, lease = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
sweep()
local own = redis.call('GET', key('holder', t, reviewer))
if own and tonumber(get(own, 'expires')) <= now then
  idle(own)
  ready(own)
  changed(own)
  own = false
end
if own and (wanted == '' or wanted == own) then return {own, get(own, 'token'), get(own, 'expires')} end
local function may(id) return not late(id) and redis.call('SISMEMBER', key('seen', id), reviewer) == 0 end
if wanted ~= '' then
  if get(wanted, 'state') ~= 'open' or tenant(wanted) ~= t or not may(wanted)
    or (get(wanted, 'level') == 'senior' and level ~= 'senior') then return false end
  if own then
    idle(own)
    ready(own)
    changed(own)
  end
  return take(wanted, reviewer, lease)
end
for _, name in ipairs(level == 'senior' and {'senior', 'reviewer'} or {'reviewer'}) do
  local from = 0
  while true do
    local ids = redis.call('ZRANGE', key('ready', t, name), from, from + 99)
    for _, id in ipairs(ids) do
      if may(id) then return take(id, reviewer, lease) end
    end
    if #ids < 100 then break end
    from = from + 100
  end
end
return false
"""
"""ARGV from 2: tenant, reviewer, level, case or nothing, lease."""

RENEW = """
local id, reviewer, token, lease = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
if not holds(id, reviewer, token) then return false end
set(id, 'expires', now + lease)
redis.call('ZADD', key('leased'), now + lease, id)
return now + lease
"""

GIVE_BACK = """
local id, reviewer, token, skipped = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if not holds(id, reviewer, token) then return false end
idle(id)
if skipped ~= '' then
  redis.call('SADD', key('seen', id), reviewer)
  redis.call('RPUSH', key('skips', id), skipped)
  if redis.call('HINCRBY', key('case', id), 'skips', 1) >= 3 then set(id, 'level', 'senior') end
end
ready(id)
changed(id)
return 1
"""
"""ARGV from 2: id, reviewer, token, reason of a skip or nothing."""

SUBMIT = """
local id, reviewer, token, once, choice, entry = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local undo = tonumber(get(id, 'undo') or 0)
if redis.call('SISMEMBER', key('done', id), once) == 1 then return 'again' end
if not holds(id, reviewer, token) then return 'stale' end
if not link(KEYS[2], KEYS[3], ARGV[8], ARGV[9], ARGV[10]) then return 'moved' end
redis.call('SADD', key('done', id), once)
idle(id)
redis.call('SADD', key('seen', id), reviewer)
redis.call('RPUSH', key('reviews', id), entry)
set(id, 'said', now, 'was', get(id, 'level'), 'phase_was', get(id, 'phase'))
local agree = string.match(entry, '^(%S+) ')
if choice == 'escalate' then
  senior(id)
elseif choice == 'cannot_judge' then
  if redis.call('HINCRBY', key('case', id), 'unsure', 1) >= 2 then set(id, 'level', 'senior') end
  ready(id)
elseif get(id, 'level') == 'senior' then
  decide(id, entry, undo)
elseif get(id, 'phase') == 'second' then
  if string.match(get(id, 'outcome'), '^(%S+) ') == agree then
    set(id, 'phase', 'agreed', 'state', 'closed')
    redis.call('ZREM', key('open', tenant(id)), id)
    redis.call('ZREM', key('opened', tenant(id)), id)
  else
    set(id, 'phase', 'dispute')
    senior(id)
  end
else
  local same, others = 0, 0
  for _, said in ipairs(redis.call('LRANGE', key('reviews', id), 0, -1)) do
    local word = string.match(said, '^(%S+) ')
    local counts = word ~= 'escalate' and word ~= 'cannot_judge'
    if word == agree then same = same + 1 elseif counts then others = others + 1 end
  end
  if others > 0 then senior(id)
  elseif same >= tonumber(get(id, 'need')) then decide(id, entry, undo)
  else ready(id) end
end
changed(id)
return 'ok'
"""
"""ARGV from 2: id, reviewer, token, idempotency key, choice, entry, and the ledger's link."""

UNDO = """
local id, reviewer, lease = ARGV[2], ARGV[3], tonumber(ARGV[4])
local last = redis.call('LINDEX', key('reviews', id), -1)
if not last or not get(id, 'was') then return false end
if cjson.decode(string.match(last, '^%S+ (.*)$')).reviewer ~= reviewer then return false end
local state = get(id, 'state')
if state == 'deciding' then
  if tonumber(get(id, 'effective')) <= now then return false end
elseif state ~= 'open' or tonumber(get(id, 'said') or 0) + tonumber(get(id, 'undo')) <= now then
  return false
end
if not link(KEYS[2], KEYS[3], ARGV[5], ARGV[6], ARGV[7]) then return 'moved' end
local t = tenant(id)
local own = redis.call('GET', key('holder', t, reviewer))
if own then
  idle(own)
  ready(own)
  changed(own)
end
redis.call('RPOP', key('reviews', id))
redis.call('SREM', key('seen', id), reviewer)
redis.call('ZREM', key('ready', t, get(id, 'level')), id)
redis.call('SREM', key('deciding', t), id)
redis.call('HDEL', key('case', id), 'pending', 'effective')
if string.match(last, '^cannot_judge ') then redis.call('HINCRBY', key('case', id), 'unsure', -1) end
set(id, 'level', get(id, 'was'), 'phase', get(id, 'phase_was'))
redis.call('HDEL', key('case', id), 'said', 'was', 'phase_was')
local deadline = get(id, 'deadline')
if deadline and not get(id, 'closed') then redis.call('ZADD', key('due'), deadline, id)
else redis.call('ZREM', key('due'), id) end
return take(id, reviewer, lease)
"""
"""ARGV from 2: id, reviewer, lease, and the ledger's link."""

SUPERSEDE = """
local id, once, entry = ARGV[2], ARGV[3], ARGV[4]
if redis.call('SISMEMBER', key('done', id), once) == 1 then return 'again' end
if get(id, 'state') ~= 'closed' then return 'stale' end
if not link(KEYS[2], KEYS[3], ARGV[5], ARGV[6], ARGV[7]) then return 'moved' end
redis.call('SADD', key('done', id), once)
redis.call('RPUSH', key('reviews', id), entry)
set(id, 'pending', entry)
close(id, true)
return 'ok'
"""

DUE = """
sweep()
local out = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('due'), '-inf', now, 'LIMIT', 0, 100)) do
  out[#out + 1] = id
  out[#out + 1] = get(id, 'state') == 'deciding' and 'decided' or 'late'
end
return out
"""

SETTLE = """
local id = ARGV[2]
if get(id, 'state') ~= 'deciding' or tonumber(get(id, 'effective')) > now then return 0 end
close(id, get(id, 'closed'))
return 1
"""

EXPIRE = """
local id, entry = ARGV[2], ARGV[3]
local deadline = tonumber(get(id, 'deadline') or 0)
if get(id, 'closed') or get(id, 'state') == 'deciding' or deadline == 0 or deadline > now then return 0 end
if not link(KEYS[2], KEYS[3], ARGV[4], ARGV[5], ARGV[6]) then return 'moved' end
redis.call('ZREM', key('ready', tenant(id), get(id, 'level')), id)
if get(id, 'state') == 'leased' then idle(id) end
redis.call('RPUSH', key('reviews', id), entry)
set(id, 'pending', entry, 'phase', 'late')
close(id, false)
return 1
"""

FORGET = """
local id = ARGV[2]
local t = tenant(id)
if not t then return 0 end
if get(id, 'state') == 'leased' then idle(id) end
for _, name in ipairs({'reviewer', 'senior'}) do redis.call('ZREM', key('ready', t, name), id) end
for _, name in ipairs({'open', 'opened', 'closed'}) do redis.call('ZREM', key(name, t), id) end
redis.call('ZREM', key('due'), id)
redis.call('ZREM', P .. ':closed', id)
redis.call('SREM', key('deciding', t), id)
for answer in string.gmatch(ARGV[3], '%S+') do redis.call('HDEL', key('answers', t), answer) end
if ARGV[4] ~= '' then redis.call('SREM', key('user', t, ARGV[4]), id) end
redis.call('DEL', key('case', id), key('reviews', id), key('seen', id), key('done', id), key('skips', id))
return 1
"""
"""ARGV from 2: id, answer ids, user."""


def script(body: str, *, links: bool = False) -> str:
    """Whole, for `register_script`. KEYS: the prefix, and where it links the ledger's two."""
    return (Ledger.LINK if links else "") + COMMON + body
