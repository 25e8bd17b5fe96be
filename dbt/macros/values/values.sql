{# Macros on the columns that loaders make of tap-ldap's properties. #}

{#
  A property's column, whatever the loader calls it (`departmentNumber`, `departmentnumber`, `department_number`), quoted; null where the
  table lacks it, as it does for an attribute that no entry has.
#}
{% macro ldap_column(relation, property, type='text') -%}
{%- set found = namespace(name=none) -%}
{%- if execute -%}
  {%- for column in adapter.get_columns_in_relation(relation) if column.name | lower | replace('_', '') == property | lower | replace('_', '') -%}
    {%- set found.name = column.name -%}
  {%- endfor -%}
{%- endif -%}
{{ return(adapter.quote(found.name) if found.name else 'cast(null as ' ~ type ~ ')') }}
{%- endmacro %}

{# The first of a property's values as a trimmed text, null when that is empty: for columns of one value and for arrays alike. #}
{% macro ldap_text(relation, property) -%}
{%- set list = ldap.ldap_is_list(relation, property) -%}
{%- set column = ldap.ldap_column(relation, property) -%}
nullif(trim({% if list %}({{ ldap.ldap_list(column) }})[1]{% else %}cast({{ column }} as {{ dbt.type_string() }}){% endif %}), '')
{%- endmacro %}

{# A property's values as a list of texts; empty where it has none. #}
{% macro ldap_texts(relation, property) -%}
{%- set column = ldap.ldap_column(relation, property) -%}
{%- if ldap.ldap_is_list(relation, property) -%}
{{ ldap.ldap_list(column) }}
{%- else -%}
{{ adapter.dispatch('ldap_list_of_one', 'ldap')(column) }}
{%- endif -%}
{%- endmacro %}

{# Whether a property's column holds several values: an array, or JSON. #}
{% macro ldap_is_list(relation, property) -%}
{%- set found = namespace(list=false) -%}
{%- if execute -%}
  {%- for column in adapter.get_columns_in_relation(relation) if column.name | lower | replace('_', '') == property | lower | replace('_', '') -%}
    {%- set type = column.dtype | lower -%}
    {%- set found.list = 'json' in type or '[]' in type or type.startswith('array') or type.startswith('_') -%}
  {%- endfor -%}
{%- endif -%}
{{ return(found.list) }}
{%- endmacro %}

{% macro ldap_list(column) -%}{{ return(adapter.dispatch('ldap_list', 'ldap')(column)) }}{%- endmacro %}

{% macro duckdb__ldap_list(column) -%}
coalesce(from_json(to_json({{ column }}), '["VARCHAR"]'), []::varchar[])
{%- endmacro %}

{% macro postgres__ldap_list(column) -%}
(case when jsonb_typeof(to_jsonb({{ column }})) = 'array' then array(select jsonb_array_elements_text(to_jsonb({{ column }}))) else array[]::text[] end)
{%- endmacro %}

{% macro duckdb__ldap_list_of_one(column) -%}
[v for v in [cast({{ column }} as varchar)] if v is not null]
{%- endmacro %}

{% macro postgres__ldap_list_of_one(column) -%}
array_remove(array[cast({{ column }} as text)], null)
{%- endmacro %}

{# A text as an integer; null where it is none. #}
{% macro ldap_integer(text) -%}{{ return(adapter.dispatch('ldap_integer', 'ldap')(text)) }}{%- endmacro %}

{% macro duckdb__ldap_integer(text) -%}
case when regexp_matches({{ text }}, '^[+-]?[0-9]+$') then try_cast({{ text }} as bigint) end
{%- endmacro %}

{% macro postgres__ldap_integer(text) -%}
case when ({{ text }}) ~ '^[+-]?[0-9]{1,18}$' then ({{ text }})::bigint end
{%- endmacro %}

{#
  For a where clause: the rows that are not deleted. LOG_BASED streams, and those with track_deletions, mark deletions in `_sdc_deleted_at`;
  loaders that delete rows leave none.
#}
{% macro ldap_is_there(relation) -%}
{{ ldap.ldap_column(relation, '_sdc_deleted_at') }} is null
{%- endmacro %}

{# Two lists as one. #}
{% macro ldap_concat(a, b) -%}{{ return(adapter.dispatch('ldap_concat', 'ldap')(a, b)) }}{%- endmacro %}
{% macro duckdb__ldap_concat(a, b) -%}list_concat({{ a }}, {{ b }}){%- endmacro %}
{% macro postgres__ldap_concat(a, b) -%}array_cat({{ a }}, {{ b }}){%- endmacro %}
