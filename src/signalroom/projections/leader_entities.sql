-- The leader kit, 2 of 5: an entity's view, its table, and the function that brings the table up with the view.

-- Declare an entity, or declare it anew: its view, its typed table and its function follow the query.
create or replace function {schema}.reporting_entity(entity text, key text, query text) returns void
language plpgsql as $kit$
declare
  source text := format('{schema}.%I', 'reporting_' || entity || '_source');
  target text := format('{schema}.%I', 'reporting_' || entity);
  changed boolean;
  col record;
begin
  if entity !~ '^[a-z][a-z0-9_]{0,43}$' or entity ~ '_source$'
    or entity in ('intentions', 'state', 'entities', 'watches', 'pulls') then
    raise exception 'reporting: % cannot be the name of an entity', quote_literal(entity);
  end if;
  changed := to_regclass(source) is null or not exists (
    select from {schema}.reporting_entities e
    where (e.entity, e.key, e.query) = (reporting_entity.entity, reporting_entity.key, reporting_entity.query));
  if changed then
    execute 'drop view if exists ' || source;
    execute format(E'create view %s as select q.%I as _id, q.* from (\n%s\n) q', source, key, query);
  end if;
  execute format(
    'create table if not exists %s (_id text primary key, _version bigint not null, _txid xid8 not null,'
    ' _deleted boolean not null, _hash bigint not null, _updated_at timestamptz not null)', target);
  execute format('create index if not exists %I on %s (_txid)', 'reporting_' || entity || '_txid', target);
  -- A column whose type changed is made anew, not cast: every row is computed again anyway.
  for col in select * from {schema}.reporting_column_changes(source, target) loop
    if col.is_gone then
      execute format('alter table %s drop column %I', target, col.name);
    end if;
    if col.type is not null then
      execute format('alter table %s add column %I %s', target, col.name, col.type);
    end if;
    changed := true;
  end loop;
  execute {schema}.reporting_project_body(entity);
  insert into {schema}.reporting_entities as e values (entity, key, query)
    on conflict on constraint reporting_entities_pkey do update set key = excluded.key, query = excluded.query;
  -- Its watches are declared after it, all of them.
  delete from {schema}.reporting_watches w where w.entity = reporting_entity.entity;
  if changed then
    perform {schema}.reporting_touch_all(entity);
  end if;
end $kit$;

-- The columns of a view or a table with their types, those that the kit adds left out.
create or replace function {schema}.reporting_columns(relation text)
returns table (place integer, name text, type text, is_comparable boolean) language sql stable as $kit$
  select a.attnum::integer, a.attname::text, format_type(a.atttypid, a.atttypmod),
    a.atttypid <> all ('{json,xml,point,polygon,box,line,lseg,path,circle}'::regtype[])
  from pg_attribute a
  where a.attrelid = relation::regclass and a.attnum > 0 and not a.attisdropped
    and a.attname not in ('_id', '_version', '_txid', '_deleted', '_hash', '_updated_at')
  order by 1
$kit$;

create or replace function {schema}.reporting_column_changes(source text, target text)
returns table (name text, type text, is_gone boolean) language sql stable as $kit$
  select coalesce(s.name, t.name), s.type, t.name is not null
  from {schema}.reporting_columns(source) s full join {schema}.reporting_columns(target) t on t.name = s.name
  where s.type is distinct from t.type
  order by s.place
$kit$;

-- The function that projects one entity, as text: its statements are plain SQL, planned once.
create or replace function {schema}.reporting_project_body(entity text) returns text
language plpgsql as $kit$
declare
  source text := '{schema}.' || quote_ident('reporting_' || entity || '_source');
  target text := '{schema}.' || quote_ident('reporting_' || entity);
  id_type text := (select format_type(atttypid, null) from pg_attribute
                   where attrelid = source::regclass and attname = '_id');
  names text; fresh text; updates text; old_row text; new_row text;
begin
  select string_agg(quote_ident(c.name) || ', ', '' order by place),
    string_agg('f.' || quote_ident(c.name) || ', ', '' order by place),
    string_agg(format('%1$I = excluded.%1$I, ', c.name), '' order by place),
    string_agg(format('p.%I%s, ', c.name, case when c.is_comparable then '' else '::text' end), '' order by place),
    string_agg(format('excluded.%I%s, ', c.name, case when c.is_comparable then '' else '::text' end), '' order by place)
    into names, fresh, updates, old_row, new_row
    from {schema}.reporting_columns(source) c;
  -- The text form of a row, and so its hash, must not hang on the settings of whoever relays.
  return format($text$
create or replace function {schema}.%I(ids text[]) returns table (entity_id text, version bigint)
language plpgsql set timezone to 'UTC' set datestyle to 'ISO, YMD' set intervalstyle to 'postgres'
set bytea_output to 'hex' set extra_float_digits to 1 as $body$
#variable_conflict use_column
begin
  -- Lock first, compute in the next statement: its snapshot is newer than that of whoever held the lock before.
  perform {schema}.reporting_lock(array[%L], ids);
  return query
  with written as (
    insert into %s as p (_id, %s_version, _txid, _deleted, _hash, _updated_at)
    select w.id, %sgreatest((select epoch << 40 from {schema}.reporting_state),
        (select e.purged_version from {schema}.reporting_entities e where e.entity = %L)) + 1, pg_current_xact_id(), f._id is null,
      hashtextextended(row(%sf._id is null)::text, 0), clock_timestamp()
    from (select distinct unnest(ids) as id) w
      left join %s f on f._id = any (ids::%s[]) and f._id::text = w.id
    where f._id is not null or exists (select from %s t where t._id = w.id)
    on conflict (_id) do update set %s_version = greatest(p._version + 1, excluded._version),
      _txid = excluded._txid, _deleted = excluded._deleted, _hash = excluded._hash, _updated_at = excluded._updated_at
    where row(%sp._deleted) is distinct from row(%sexcluded._deleted)
    returning p._id, p._version
  )
  select told._id, told._version from (
    select w._id, w._version, pg_notify('reporting_pulls', %L || w._id || ':' || w._version) from written w
  ) told;
end $body$$text$, 'reporting_project_' || entity, entity, target, names, fresh, entity, fresh, source, id_type, target, updates,
    old_row, new_row, entity || ':');
end $kit$;

-- Lock entities by their ids, in one order whoever asks. The lock lasts until the transaction ends.
create or replace function {schema}.reporting_lock(entities text[], ids text[]) returns void
language plpgsql as $kit$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'reporting: project under read committed, or rows are computed from before the lock was had';
  end if;
  perform pg_advisory_xact_lock(k.key) from (
    select distinct hashtextextended(
      '{schema}.' || case when cardinality(entities) = 1 then entities[1] else e.entity end || ':' || i.id, 0) as key
    from unnest(ids) with ordinality i (id, place)
      left join unnest(entities) with ordinality e (entity, place) on e.place = i.place
    order by 1 offset 0
  ) k;
end $kit$;

-- Bring rows up with the view; returns those that changed, each with its new version.
create or replace function {schema}.reporting_project(entity text, ids text[])
returns table (entity_id text, version bigint) language plpgsql as $kit$
begin
  if not exists (select from {schema}.reporting_entities e where e.entity = reporting_project.entity) then
    raise exception 'reporting: there is no entity %', quote_literal(entity);
  end if;
  return query execute format('select * from {schema}.%I($1)', 'reporting_project_' || entity) using ids;
end $kit$;
