-- Removes the leader kit: triggers, functions, views and tables. What hangs on it and is not the kit's own stops this.

do $kit$
declare
  statement text;
  entities text[] := array(select entity from {schema}.reporting_entities);
begin
  perform {schema}.reporting_disarm('{}');
  for statement in
    select 'drop view ' || to_regclass('{schema}.' || quote_ident('reporting_' || entity || '_source'))
      from {schema}.reporting_entities
    union all
    select 'drop table ' || to_regclass('{schema}.' || quote_ident('reporting_' || entity))
      from {schema}.reporting_entities
  loop
    execute statement;
  end loop;
  drop table {schema}.reporting_pulls, {schema}.reporting_watches, {schema}.reporting_entities, {schema}.reporting_intentions,
    {schema}.reporting_state;
  for statement in
    select 'drop function ' || p.oid::regprocedure from pg_proc p
    where p.pronamespace = '{schema}'::regnamespace and (p.proname = any ('{{functions}}')
      or p.proname in (select 'reporting_project_' || entity from unnest(entities) e (entity)))
  loop
    execute statement;
  end loop;
end $kit$;
