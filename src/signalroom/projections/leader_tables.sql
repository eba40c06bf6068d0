-- The leader kit, 1 of 5: its tables, and what an app may call. {schema} is the schema that holds all of it.

create schema if not exists {schema};

-- "This entity may have changed": no payload, so that nothing in it can be stale. Settled intentions are deleted.
create table if not exists {schema}.reporting_intentions (
  id bigint generated always as identity primary key,
  entity text not null,
  entity_id text not null,
  state text not null default 'pending',
  attempts integer not null default 0,
  not_before timestamptz,
  error text,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  constraint reporting_intentions_state check (state in ('pending', 'failed'))
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
create index if not exists reporting_intentions_failed
  on {schema}.reporting_intentions (entity, entity_id) where state = 'failed';

-- Which server this is. A standby that was promoted, or a restored copy, begins a new epoch.
create table if not exists {schema}.reporting_state (
  only_row boolean primary key default true check (only_row),
  system_identifier bigint not null,
  timeline integer not null,
  epoch bigint not null
);

-- What is installed: the declarations from which views, tables, functions and triggers were made.
create table if not exists {schema}.reporting_entities (
  entity text primary key,
  key text not null,
  query text not null
);
-- The greatest version and the last transaction of the tombstones that were purged.
alter table {schema}.reporting_entities add column if not exists purged_version bigint not null default 0;
alter table {schema}.reporting_entities add column if not exists purged_xid xid8;
create table if not exists {schema}.reporting_watches (
  entity text not null references {schema}.reporting_entities on delete cascade,
  relation text not null,
  id_column text,
  query text,
  constraint reporting_watches_one check ((id_column is null) <> (query is null))
);
create unique index if not exists reporting_watches_once
  on {schema}.reporting_watches (entity, relation, coalesce(id_column, ''), md5(coalesce(query, '')));

create or replace function {schema}.reporting_server(out system_identifier bigint, out timeline integer)
language sql stable as $kit$
  select s.system_identifier, ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer
  from pg_control_system() s
$kit$;

insert into {schema}.reporting_state (system_identifier, timeline, epoch)
  select s.system_identifier, s.timeline, 1 from {schema}.reporting_server() s
  on conflict do nothing;

-- A relay that has nothing to do holds this lock exclusively, and only then is anybody notified: NOTIFY makes commits
-- wait for one another, which a relay that is busy anyway is not worth.
create or replace function {schema}.reporting_relay_lock() returns bigint
language sql immutable as $kit$ select hashtextextended('{schema}.reporting_relay', 0) $kit$;

create or replace function {schema}.reporting_wake() returns void
language plpgsql as $kit$
begin
  if not pg_try_advisory_xact_lock_shared({schema}.reporting_relay_lock()) then
    perform pg_notify('reporting_intentions', '');
  end if;
end $kit$;

-- For changes that no trigger sees: say so inside the transaction that makes them.
create or replace function {schema}.reporting_touch(entity text, id text) returns void
language plpgsql as $kit$
begin
  insert into {schema}.reporting_intentions (entity, entity_id) values (entity, id);
  perform {schema}.reporting_wake();
end $kit$;

-- Every id of an entity, those that only its table still has included; returns how many.
create or replace function {schema}.reporting_touch_all(entity text) returns bigint
language plpgsql as $kit$
declare
  touched bigint;
begin
  execute format(
    'insert into {schema}.reporting_intentions (entity, entity_id)'
    ' select $1, _id::text from {schema}.%I where _id is not null'
    ' union select $1, _id from {schema}.%I where not _deleted',
    'reporting_' || entity || '_source', 'reporting_' || entity) using entity;
  get diagnostics touched = row_count;
  perform {schema}.reporting_wake();
  return touched;
end $kit$;

-- The ids of an entity that this transaction has not noted yet.
create or replace function {schema}.reporting_touch_rest(entity text) returns void
language plpgsql as $kit$
begin
  execute format(
    'insert into {schema}.reporting_intentions (entity, entity_id)'
    ' select $1, r.id from (select _id::text from {schema}.%I where _id is not null'
    ' union select _id from {schema}.%I where not _deleted) r (id)'
    ' where not exists (select from {schema}.reporting_intentions i'
    ' where (i.entity, i.entity_id) = ($1, r.id) and i.xmin = pg_current_xact_id()::xid)',
    'reporting_' || entity || '_source', 'reporting_' || entity) using entity;
  perform {schema}.reporting_wake();
end $kit$;

-- A stable uuid for each row of a table that has none, for rows to come too.
create or replace function {schema}.reporting_mint(relation regclass, column_name text) returns void
language plpgsql as $kit$
declare
  name text := left((select relname from pg_class where oid = relation), 40);
begin
  execute format('alter table %s add column if not exists %I uuid', relation, column_name);
  execute format('alter table %s alter column %I set default gen_random_uuid()', relation, column_name);
  execute format('update %s set %I = gen_random_uuid() where %2$I is null', relation, column_name);
  if not exists (
    select from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = relation and i.indisunique and i.indnkeyatts = 1 and a.attname = column_name
  ) then
    execute format('create unique index %I on %s (%I)', 'reporting_' || name || '_uuid', relation, column_name);
  end if;
  execute format('alter table %s alter column %I set not null', relation, column_name);
end $kit$;
