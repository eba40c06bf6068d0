{#-
  Select `columns` (pairs of name and type) of a source table; no rows when nothing was ever loaded into it.

  A workspace builds from its first hour on, when the night's exports have not arrived yet. The casts keep a
  view's column types the same before and after.
-#}
{% macro source_rows(source_name, table_name, columns) -%}
  {%- set relation = source(source_name, table_name) -%}
  {%- set missing = execute and load_relation(relation) is none -%}
  select
    {%- for name, type in columns %}
    cast({{ 'null' if missing else name }} as {{ type }}) as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
  {% if missing -%} where 1 = 0 {%- else -%} from {{ relation }} {%- endif %}
{%- endmacro %}

{#- The columns that say where a row came from; the loader writes them on every table. -#}
{% macro lineage_columns() -%}
  {{ return([
    ('_load_id', 'text'),
    ('_loaded_at', 'timestamptz'),
    ('_client_id', 'text'),
    ('_source_ref', 'text'),
    ('_file_time', 'timestamptz'),
    ('_row', 'bigint'),
  ]) }}
{%- endmacro %}
