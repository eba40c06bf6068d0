-- The leader kit, 3 of 5: triggers on the app's tables. One function a table and event, whatever number of entities
-- hangs on it: its body is plain SQL made from the watches, planned once.

-- Say that an entity's rows change with a table's: by a column that holds the entity's id, or by a query that gives
-- ids for the rows of `changed` (which has the table's columns; after an UPDATE, the rows before and after it).
create or replace function {schema}.reporting_watch(entity text, relation text, id_column text, query text default null)
returns void language plpgsql as $kit$
begin
  if relation::regclass = any (array['{schema}.reporting_intentions', '{schema}.reporting_' || entity]::regclass[]) then
    raise exception 'reporting: % is a table of the kit itself', relation;
  end if;
  -- A wrong name must fail here and not in the app's next write.
  execute format('with changed as (select * from %s) select k::text from (%s) w (k) limit 0', relation::regclass,
    coalesce(query, format('select %I from changed', id_column)));
  insert into {schema}.reporting_watches (entity, relation, id_column, query)
    select entity, format('%I.%I', n.nspname, c.relname), id_column, query
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = relation::regclass
    on conflict do nothing;
end $kit$;

-- The body of a table's trigger function for one event, as text.
create or replace function {schema}.reporting_trigger_body(relation text, event text) returns text
language plpgsql stable as $kit$
declare
  rows text := case event when 'insert' then 'select * from new_rows' when 'delete' then 'select * from old_rows'
                 else 'select * from old_rows union all select * from new_rows' end;
  ids text;
begin
  -- UNION: an entity that several rows lead to is noted once. Old and new parents both: a row may have moved.
  select string_agg(case
    when event = 'truncate' then
      format('select %L, _id from {schema}.%I where not _deleted', w.entity, 'reporting_' || w.entity)
    when w.query is not null then
      format(E'select %L, k::pg_catalog.text from (with changed as (%s)\n%s\n) w (k) where k is not null',
        w.entity, rows, w.query)
    when event = 'update' then
      format('select %1$L, %2$I::pg_catalog.text from old_rows where %2$I is not null'
        ' union select %1$L, %2$I::pg_catalog.text from new_rows where %2$I is not null', w.entity, w.id_column)
    else
      format('select %L, %I::pg_catalog.text from %s where %2$I is not null', w.entity, w.id_column,
        case event when 'insert' then 'new_rows' else 'old_rows' end)
    end, E'\n    union ' order by w.entity, w.id_column, w.query) into ids
  from {schema}.reporting_watches w where w.relation = reporting_trigger_body.relation;
  return format($text$
begin
  insert into {schema}.reporting_intentions (entity, entity_id)
    %s;
  if found and not pg_catalog.pg_try_advisory_xact_lock_shared(%s) then
    perform pg_catalog.pg_notify('reporting_intentions', '');
  end if;
  return null;
end $text$, ids, {schema}.reporting_relay_lock());
end $kit$;

create or replace function {schema}.reporting_trigger_name(relation text, event text) returns text
language sql immutable as $kit$
  select 'reporting_on_' || event || '_' || substr(md5(relation), 1, 12)
$kit$;

-- A table with its partitions and theirs: a write to a partition fires the partition's own statement triggers.
create or replace function {schema}.reporting_members(relation text) returns setof regclass
language sql stable as $kit$
  with recursive member (oid) as (
    select to_regclass(relation)::oid
    union select i.inhrelid from pg_inherits i join member m on m.oid = i.inhparent
  )
  select m.oid::regclass from member m join pg_class c on c.oid = m.oid where c.relkind in ('r', 'p')
$kit$;

-- The triggers that there should be, and whether each is there and fires whoever writes. A trigger is known by its
-- function: its name may be that of somebody else's. Without `member`, the table is gone or has another name.
create or replace function {schema}.reporting_triggers()
returns table (member regclass, relation text, event text, function_name text, is_there boolean, fires_always boolean)
language sql stable as $kit$
  select m.member, w.relation, e.event, {schema}.reporting_trigger_name(w.relation, e.event),
    t.oid is not null, coalesce(t.tgenabled = 'A', false)
  from (select distinct relation from {schema}.reporting_watches) w
    left join lateral {schema}.reporting_members(w.relation) m (member) on true
    cross join unnest('{insert,update,delete,truncate}'::text[]) e (event)
    left join (pg_trigger t join pg_proc p on p.oid = t.tgfoid and p.pronamespace = '{schema}'::regnamespace)
      on t.tgrelid = m.member and p.proname = {schema}.reporting_trigger_name(w.relation, e.event)
  order by 1, 3
$kit$;

-- Bring the functions and triggers up with the watches. A trigger that is there is left alone: only what is new locks.
create or replace function {schema}.reporting_arm() returns void
language plpgsql as $kit$
declare
  one record;
  trigger_name text;
  armed text[] := '{}';
  path text := concat_ws(', ', nullif(current_setting('search_path'), ''), 'pg_temp');
begin
  for one in select distinct t.relation, t.event, t.function_name from {schema}.reporting_triggers() t loop
    -- SECURITY DEFINER: who may write the app's table need not be let near the kit's. A query of the team's own finds
    -- its tables as it did when it was declared; the kit's own SQL names schemas and needs no path.
    execute format('create or replace function {schema}.%I() returns trigger language plpgsql security definer%s as %L',
      one.function_name,
      case when exists (select from {schema}.reporting_watches w where w.relation = one.relation and w.query is not null)
        then ' set search_path to ' || path else '' end,
      {schema}.reporting_trigger_body(one.relation, one.event));
  end loop;
  -- Before new ones are made: a table that was renamed has triggers of its old name.
  perform {schema}.reporting_disarm(array(select distinct t.function_name from {schema}.reporting_triggers() t));
  for one in
    select * from {schema}.reporting_triggers() t where not (t.is_there and t.fires_always) and t.member is not null
  loop
    armed := armed || one.relation;
    select t.tgname into trigger_name from pg_trigger t
      where t.tgrelid = one.member and t.tgfoid = format('{schema}.%I()', one.function_name)::regprocedure;
    if not one.is_there then
      trigger_name := 'reporting_' || one.event;
      if exists (select from pg_trigger t where (t.tgrelid, t.tgname) = (one.member, trigger_name)) then
        trigger_name := one.function_name;  -- the plain name is somebody else's
      end if;
      execute format('create trigger %I after %s on %s %s for each statement execute function {schema}.%I()',
        trigger_name, one.event, one.member,
        case one.event when 'insert' then 'referencing new table as new_rows'
          when 'delete' then 'referencing old table as old_rows'
          when 'update' then 'referencing old table as old_rows new table as new_rows' else '' end,
        one.function_name);
    end if;
    -- ALWAYS: writers with session_replication_role = replica are seen too.
    execute format('alter table %s enable always trigger %I', one.member, trigger_name);
  end loop;
  -- What was written before the triggers were there, nobody has noted.
  perform {schema}.reporting_touch_rest(e.entity) from (
    select distinct w.entity from {schema}.reporting_watches w where w.relation = any (armed)
  ) e;
end $kit$;

-- Remove the triggers whose functions are not to be kept, and these functions.
create or replace function {schema}.reporting_disarm(kept text[]) returns void
language plpgsql as $kit$
declare
  one record;
begin
  for one in
    select p.oid::regprocedure as name, p.oid from pg_proc p
    where p.pronamespace = '{schema}'::regnamespace and p.prorettype = 'trigger'::regtype and p.proname <> all (kept)
      and p.proname ~ '^reporting_on_(insert|update|delete|truncate)_[0-9a-f]{12}$'
  loop
    perform {schema}.reporting_drop_triggers(one.oid);
    execute format('drop function %s', one.name);
  end loop;
end $kit$;

create or replace function {schema}.reporting_drop_triggers(of_function oid) returns void
language plpgsql as $kit$
declare
  one record;
begin
  for one in select tgname, tgrelid::regclass as relation from pg_trigger where tgfoid = of_function loop
    execute format('drop trigger %I on %s', one.tgname, one.relation);
  end loop;
end $kit$;
