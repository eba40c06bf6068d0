{#-
  What a mart was built from, kept as its comment in the transaction that wrote its rows.

  A model writes `-- seen: ` and loads_seen(...) above its SELECT, and has keep_seen() as its post_hook. It is asked
  before the rows are read, so that a load which comes in meanwhile counts as not seen.
-#}

{#- The merged loads of some streams ('source.stream') as one text, by SQL; a replay changes it too. -#}
{% macro loads_sql(streams) -%}
  {%- set loads = load_relation(
    api.Relation.create(database=target.database, schema='signalroom', identifier='loads')
  ) if execute -%}
  {%- if loads -%}
    (
      select count(*) || ' loads to ' || coalesce(max(load_id), '') || ' merged ' || coalesce(max(merged_at), timestamptz '1970-01-01 00:00:00+00')
      from {{ loads }} where source || '.' || stream in ('{{ streams | join("', '") }}')
    )
  {%- else -%}
    ''
  {%- endif -%}
{%- endmacro %}

{#- What the model is about to see: the loads, and the SQL of the views it reads and of itself. -#}
{% macro loads_seen(streams, views=[]) -%}
  {%- if execute -%}
    {%- set code = [model.raw_code, var('projects') | string] -%}
    {%- for view in views -%}
      {%- do code.append(comment_of(view)) -%}
    {%- endfor -%}
    {{ return(run_query('select ' ~ loads_sql(streams)).rows[0][0] ~ ', code ' ~ local_md5(code | join('|'))) }}
  {%- endif -%}
{%- endmacro %}

{% macro keep_seen() -%}
  {%- set seen = modules.re.search('-- seen: (.+)', model.compiled_code or '') if execute -%}
  {%- if seen -%}
    comment on table {{ this }} is '{{ seen.group(1) | trim }}'
  {%- endif -%}
{%- endmacro %}

{#- For a test: true in SQL while no load has come in since the mart was built; then the two cannot be compared. -#}
{% macro nothing_came_since(mart, streams) -%}
  {%- set seen = comment_of(mart) if execute else '' -%}
  {%- if ', code ' in seen -%}
    {{ loads_sql(streams) }} = '{{ seen.split(', code ')[0] }}'
  {%- else -%}
    1 = 1
  {%- endif -%}
{%- endmacro %}

{#-
  The comment of a view or table, or an empty text.

  `begin` opens the transaction that a materialization commits; a model that asks while it compiles opens none.
-#}
{% macro comment_of(relation, begin=false) -%}
  {%- call statement('comment', fetch_result=True, auto_begin=begin) -%}
    {{ adapter.dispatch('comment_sql')(relation) }}
  {%- endcall -%}
  {%- set rows = load_result('comment')['data'] if execute else [] -%}
  {{ return((rows[0][0] or '') if rows | length else '') }}
{%- endmacro %}

{% macro default__comment_sql(relation) -%}
  select obj_description(to_regclass('{{ relation.include(database=false).render() }}'), 'pg_class')
{%- endmacro %}

{% macro duckdb__comment_sql(relation) -%}
  select comment from (
    select database_name, schema_name, view_name as name, comment from duckdb_views()
    union all
    select database_name, schema_name, table_name as name, comment from duckdb_tables()
  )
  where database_name = '{{ relation.database }}'
    and schema_name = '{{ relation.schema }}' and name = '{{ relation.identifier }}'
{%- endmacro %}
