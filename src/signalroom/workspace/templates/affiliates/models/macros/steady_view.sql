{#-
  A view that is replaced only when its SQL changed, and dropped only when its columns no longer start with the old
  ones (Postgres cannot replace such a view).

  dbt's own view is dropped with everything that depends on it, and loses its grants, on every run. The SQL's
  fingerprint is kept as the view's comment: comparing texts would compare with what the database made of them.
-#}
{% materialization steady_view, default -%}
  {%- set target_relation = this.incorporate(type='view') -%}
  {%- set existing = load_cached_relation(this) -%}
  {%- set fingerprint = 'signalroom:' ~ local_md5(sql) -%}

  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}

  {%- if existing is none or should_full_refresh() or comment_of(this, begin=true) != fingerprint -%}
    {%- if existing is not none and not is_replaceable(existing, sql) -%}
      {%- do adapter.drop_relation(existing) -%}
    {%- endif -%}
    {% call statement('main') -%}
      create or replace view {{ target_relation }} as (
        {{ sql }}
      );
      comment on view {{ target_relation }} is '{{ fingerprint }}';
    {%- endcall %}
  {%- else -%}
    {{ store_raw_result('main', message='UNCHANGED', code='UNCHANGED', rows_affected='0') }}
  {%- endif -%}

  {%- do apply_grants(
    target_relation, config.get('grants'), should_revoke=should_revoke(existing, full_refresh_mode=False)
  ) -%}
  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {%- do adapter.commit() -%}
  {{ run_hooks(post_hooks, inside_transaction=False) }}
  {{ return({'relations': [target_relation]}) }}
{%- endmaterialization %}

{% macro is_replaceable(existing, sql) -%}
  {%- if not existing.is_view -%}
    {{ return(false) }}
  {%- endif -%}
  {%- set held = adapter.get_columns_in_relation(existing) | map(attribute='name') | list -%}
  {{ return(get_columns_in_query(sql)[: held | length] == held) }}
{%- endmacro %}
