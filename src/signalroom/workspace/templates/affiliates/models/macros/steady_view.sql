{#-
  A view that is replaced only when its SQL changed, and never dropped for it.

  dbt's own view is dropped with everything that depends on it, and loses its grants, on every run. The SQL's
  fingerprint is kept as the view's comment: comparing texts would compare with what the database made of them.
-#}
{% materialization steady_view, default -%}
  {%- set target_relation = this.incorporate(type='view') -%}
  {%- set existing = load_cached_relation(this) -%}
  {%- set fingerprint = 'signalroom:' ~ local_md5(sql) -%}

  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}

  {%- if existing is not none and (should_full_refresh() or not existing.is_view) -%}
    {%- do adapter.drop_relation(existing) -%}
    {%- set existing = none -%}
  {%- endif -%}
  {%- if existing is none or view_comment(this) != fingerprint -%}
    {% call statement('main') -%}
      create or replace view {{ target_relation }} as (
        {{ sql }}
      );
      comment on view {{ target_relation }} is '{{ fingerprint }}';
    {%- endcall %}
  {%- else -%}
    {{ store_raw_result('main', message='UNCHANGED', code='UNCHANGED', rows_affected='0') }}
  {%- endif -%}

  {%- do apply_grants(target_relation, config.get('grants'), should_revoke=should_revoke(existing, full_refresh_mode=False)) -%}
  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {%- do adapter.commit() -%}
  {{ run_hooks(post_hooks, inside_transaction=False) }}
  {{ return({'relations': [target_relation]}) }}
{%- endmaterialization %}

{#- The comment on a view, or an empty text. -#}
{% macro view_comment(relation) -%}
  {#- A statement, not run_query: it opens the transaction that the materialization commits. -#}
  {%- call statement('view_comment', fetch_result=True) -%}
    {{ adapter.dispatch('view_comment_sql')(relation) }}
  {%- endcall -%}
  {%- set rows = load_result('view_comment')['data'] -%}
  {{ return(rows[0][0] if rows | length else '') }}
{%- endmacro %}

{% macro default__view_comment_sql(relation) -%}
  select obj_description('{{ relation.render() }}'::regclass, 'pg_class')
{%- endmacro %}

{% macro duckdb__view_comment_sql(relation) -%}
  select comment from duckdb_views()
  where database_name = '{{ relation.database }}'
    and schema_name = '{{ relation.schema }}' and view_name = '{{ relation.identifier }}'
{%- endmacro %}
