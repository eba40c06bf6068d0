-- The leader kit, 4 of 5: the relay, one batch a call. It may be called from anywhere: `signalroom leader relay`, or a
-- job of the app's own. Several at a time share the work.

-- Begin a new epoch where this is another server than before: a promoted standby may lack commits that followers have
-- seen, so every row gets a version above all of the lost ones. Returns whether it did.
create or replace function {schema}.reporting_epoch() returns boolean
language plpgsql as $kit$
declare
  here record;
  target text;
begin
  select * into here from {schema}.reporting_server();
  if exists (select from {schema}.reporting_state s
             where (s.system_identifier, s.timeline) = (here.system_identifier, here.timeline)) then
    return false;
  end if;
  update {schema}.reporting_state s
    set epoch = s.epoch + 1, system_identifier = here.system_identifier, timeline = here.timeline
    where (s.system_identifier, s.timeline) <> (here.system_identifier, here.timeline);
  if not found then
    return false;  -- another relay was first
  end if;
  for target in select format('{schema}.%I', 'reporting_' || e.entity) from {schema}.reporting_entities e order by 1 loop
    execute format(
      'update %s set _version = (select epoch << 40 from {schema}.reporting_state) + 1, _txid = pg_current_xact_id(),'
      ' _updated_at = clock_timestamp()', target);
  end loop;
  -- How far followers were is told in transactions of the lost server; they compare checksums, and say it anew.
  delete from {schema}.reporting_pulls;
  update {schema}.reporting_entities set purged_xid = null;
  return true;
end $kit$;

-- Project what is due, at most n intentions; returns the rows that changed. All of it is one transaction: a relay that
-- dies has claimed nothing.
create or replace function {schema}.reporting_relay(n integer)
returns table (entity text, entity_id text, version bigint) language plpgsql as $kit$
#variable_conflict use_column
declare
  claimed bigint[];
  work record;
begin
  perform {schema}.reporting_epoch();
  claimed := array(
    select i.id from {schema}.reporting_intentions i
    where i.not_before is null or i.not_before <= clock_timestamp()
    order by i.id limit n for update skip locked);
  if claimed = '{}' then
    return;
  end if;
  -- All locks of the batch first, in one order: relays never wait for one another in a circle.
  perform {schema}.reporting_lock(array_agg(i.entity), array_agg(i.entity_id))
    from {schema}.reporting_intentions i where i.id = any (claimed);
  for work in
    select i.entity as name, array_agg(distinct i.entity_id) as ids from {schema}.reporting_intentions i
    where i.id = any (claimed) group by 1 order by 1
  loop
    begin
      perform {schema}.reporting_settle(claimed, work.name, work.ids);
      return query select work.name, p.entity_id, p.version from {schema}.reporting_project(work.name, work.ids) p;
    exception
      -- What will pass by itself ends the batch, and is not held against anybody.
      when transaction_rollback or lock_not_available or insufficient_resources or operator_intervention then
        raise;
      when others then
        return query select work.name, p.entity_id, p.version
          from {schema}.reporting_project_each(claimed, work.name, work.ids) p;
    end;
  end loop;
end $kit$;

-- One by one what did not go together: what cannot be projected is set aside, the others are not held up.
create or replace function {schema}.reporting_project_each(claimed bigint[], entity text, ids text[])
returns table (entity_id text, version bigint) language plpgsql as $kit$
#variable_conflict use_column
declare
  one text;
begin
  foreach one in array ids loop
    begin
      perform {schema}.reporting_settle(claimed, reporting_project_each.entity, array[one]);
      return query select p.entity_id, p.version
        from {schema}.reporting_project(reporting_project_each.entity, array[one]) p;
    exception
      when transaction_rollback or lock_not_available or insufficient_resources or operator_intervention then
        raise;
      when others then
        perform {schema}.reporting_set_aside(claimed, reporting_project_each.entity, one, sqlerrm);
    end;
  end loop;
end $kit$;

create or replace function {schema}.reporting_settle(claimed bigint[], of_entity text, ids text[]) returns void
language sql as $kit$
  delete from {schema}.reporting_intentions i where i.id = any (claimed) and i.entity = of_entity
    and i.entity_id = any (ids);
  -- The row is current, so what had failed before is mended too; not waiting for a relay that is at it, and waits for us.
  delete from {schema}.reporting_intentions i where i.id = any (array(
    select f.id from {schema}.reporting_intentions f where f.state = 'failed' and f.entity = of_entity
      and f.entity_id = any (ids) for update skip locked));
$kit$;

-- Keep one intention of an entity that cannot be projected, to be tried again after 2, 4, 8 ... seconds, an hour at most.
create or replace function {schema}.reporting_set_aside(claimed bigint[], of_entity text, of_id text, reason text)
returns void language sql as $kit$
  with gone as (
    delete from {schema}.reporting_intentions i where i.id = any (array(
      select f.id from {schema}.reporting_intentions f
      where f.entity = of_entity and f.entity_id = of_id and (f.id = any (claimed) or f.state = 'failed')
      for update skip locked))
    returning i.attempts, i.created_at
  )
  insert into {schema}.reporting_intentions (entity, entity_id, state, attempts, not_before, error, created_at)
    select of_entity, of_id, 'failed', max(attempts) + 1,
      clock_timestamp() + least(3600, 2 ^ least(max(attempts) + 1, 12)) * interval '1 second', reason, min(created_at)
    from gone having count(*) > 0;
$kit$;

-- What a relay does next: `again` (there is work), `wait` (for a notification: whoever writes now sends one), or `soon`
-- (a transaction is under way that will send none, because a relay was busy when it wrote).
create or replace function {schema}.reporting_next() returns text
language plpgsql as $kit$
declare
  is_mine boolean := exists (
    select from pg_locks l where l.locktype = 'advisory' and l.pid = pg_backend_pid() and l.mode = 'ExclusiveLock'
      and l.granted and l.objsubid = 1
      and (l.classid::bigint << 32 | l.objid::bigint) = {schema}.reporting_relay_lock());
  is_told boolean := is_mine or pg_try_advisory_lock({schema}.reporting_relay_lock());
begin
  if not is_told and pg_try_advisory_lock_shared({schema}.reporting_relay_lock()) then
    perform pg_advisory_unlock_shared({schema}.reporting_relay_lock());
    return case when {schema}.reporting_is_due() then 'again' else 'soon' end;
  end if;
  -- Looked at after the lock was had: whoever wrote before has committed, whoever writes now notifies.
  if not {schema}.reporting_is_due() then
    return 'wait';
  end if;
  if is_told then
    perform pg_advisory_unlock({schema}.reporting_relay_lock());
  end if;
  return 'again';
end $kit$;

create or replace function {schema}.reporting_is_due() returns boolean
language plpgsql as $kit$
begin
  return exists (
    select from {schema}.reporting_intentions i where i.not_before is null or i.not_before <= clock_timestamp());
end $kit$;
