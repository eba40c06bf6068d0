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
  {%- if existing is none or comment_of(this, begin=true) != fingerprint -%}
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
