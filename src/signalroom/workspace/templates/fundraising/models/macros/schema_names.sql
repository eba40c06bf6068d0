{#- A model's schema is its `schema`, else the folder it is in: a name as it stands, no suffix of the profile's. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
  {%- if custom_schema_name is not none -%}
    {{ custom_schema_name | trim }}
  {%- else -%}
    {{ node.original_file_path.replace('\\', '/').split('/')[0] }}
  {%- endif -%}
{%- endmacro %}
