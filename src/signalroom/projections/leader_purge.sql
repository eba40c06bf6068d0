-- The leader kit, 5 of 5: tombstones, kept until every follower has passed them and some time has gone by.

-- How far each follower is, as it says itself.
create table if not exists {schema}.reporting_pulls (
  follower text not null,
  entity text not null references {schema}.reporting_entities on delete cascade,
  xid xid8 not null,
  seen_at timestamptz not null default clock_timestamp(),
  primary key (follower, entity)
);

-- A follower has every change of an entity whose transaction is below a cursor.
create or replace function {schema}.reporting_acknowledge(text, text, text) returns void
language sql as $kit$
  insert into {schema}.reporting_pulls (follower, entity, xid) select $1, e.entity, $3::xid8
    from {schema}.reporting_entities e where e.entity = $2
    on conflict (follower, entity) do update set xid = excluded.xid, seen_at = clock_timestamp()
$kit$;

-- A follower is no more: tombstones wait for it no longer. Should it come back, it compares checksums first.
create or replace function {schema}.reporting_forget(text) returns void
language sql as $kit$ delete from {schema}.reporting_pulls where follower = $1 $kit$;

-- Purge at most n tombstones of an entity that are older than `keep` and that every follower has passed; returns how many.
create or replace function {schema}.reporting_purge(of_entity text, keep interval, n integer) returns bigint
language plpgsql as $kit$
declare
  target text := format('{schema}.%I', 'reporting_' || of_entity);
  passed xid8 := (select p.xid from {schema}.reporting_pulls p where p.entity = of_entity order by p.xid limit 1);
  gone text[];
  purged record;
begin
  execute format('select array(select _id from %s where _deleted and _txid < $1 and _updated_at < clock_timestamp() - $2'
    ' order by _txid limit $3)', target) into gone using passed, keep, n;
  -- Looked at again under the lock: what came back meanwhile stays.
  perform {schema}.reporting_lock(array[of_entity], gone);
  execute format('with purged as (delete from %s where _id = any ($1) and _deleted and _txid < $2 returning *)'
    ' select count(*) as rows, max(_version) as version, max(_txid::text::numeric)::text::xid8 as xid from purged', target)
    into purged using gone, passed;
  -- Who comes back begins above: followers may still hold the tombstone, which a lower version would not replace.
  if purged.rows > 0 then
    update {schema}.reporting_entities e set purged_version = greatest(e.purged_version, purged.version),
      purged_xid = greatest(e.purged_xid, purged.xid) where e.entity = of_entity;
  end if;
  return purged.rows;
end $kit$;
