{#
  Hands models back to target-ldap: writes their rows as Singer messages (SCHEMA, RECORD, ACTIVATE_VERSION, STATE), one a line.

    model             a model's name, or ref('…'), or a list of these, or of dictionaries {model, stream, key, activate_version}, in
                      the order in which they are to be written
    path              the file to write (DuckDB; replaced when it is whole). Without it the messages are printed:
                      dbt --quiet run-operation flext_ldap_sync --args '{model: ldap_users}' | target-ldap --config target.json
    stream            the stream's name, to which target-ldap's mapping_rules refer; without it the model's name
    key               the column, or list of columns, that a record is known by; without it `dn`, else the first column
    activate_version  whether ACTIVATE_VERSION ends each stream: target-ldap then takes what is not among the rows for gone, if its setting
                      process_activate_version and the rule's scope_base say so. Set it to false for a model that is not whole.
    results           in an on-run-end hook: `results`; where something did not succeed, nothing is written

  Columns are properties, under their own names. One called `_sdc_deleted_at` that is not null makes of a row a deletion. Null and an empty list
  take an attribute away; a column that the model lacks leaves the attribute alone.
#}
{% macro flext_ldap_sync(model, path=none, stream=none, key=none, activate_version=true, results=none) -%}
{%- set failed = [] -%}
{%- for result in results or [] if result.status | string in ['error', 'fail', 'skipped'] -%}{%- do failed.append(result.node.name) -%}{%- endfor -%}
{%- if failed -%}
  {%- do log("flext_ldap_sync: nothing is written: " ~ failed | join(', ') ~ " did not succeed", info=true) -%}
{%- elif execute and flags.WHICH in ['run-operation', 'run', 'build'] -%}
  {%- set items = [] -%}
  {%- for item in (model if model is sequence and model is not string and model is not mapping and not model.is_table is defined else [model]) -%}
    {%- set options = item if item is mapping else {'model': item} -%}
    {%- set relation = ldap.ldap_model_relation(options['model']) -%}
    {%- do items.append({
      'relation': relation,
      'stream': options.get('stream') or (stream or relation.identifier),
      'key': options.get('key') or key,
      'activate_version': options.get('activate_version', activate_version),
    }) -%}
  {%- endfor -%}
  {%- if items | map(attribute='stream') | unique | list | length != items | length -%}
    {%- do exceptions.raise_compiler_error("flext_ldap_sync: two models have the same stream: give each a `stream` of its own") -%}
  {%- endif -%}
  {%- set query = ldap.ldap_singer_lines(items) -%}
  {%- if path -%}
    {{ adapter.dispatch('ldap_write_lines', 'ldap')(query, path) }}
    {%- do log("flext_ldap_sync: wrote " ~ path, info=true) -%}
  {%- else -%}
    {%- for row in run_query(query) -%}{%- do print(row[0]) -%}{%- endfor -%}
  {%- endif -%}
{%- endif -%}
{%- endmacro %}

{# The relation of a model: of ref() as it is, of a name from the manifest. #}
{% macro ldap_model_relation(model) -%}
  {%- if model is not string -%}{{ return(model) }}{%- endif -%}
  {%- for node in graph.nodes.values() if node.resource_type in ['model', 'seed', 'snapshot'] and node.name == model -%}
    {%- set relation = adapter.get_relation(node.database, node.schema, node.alias) -%}
    {%- if relation is none -%}
      {%- do exceptions.raise_compiler_error("flext_ldap_sync: the model " ~ model ~ " has not been built: dbt build --select " ~ model) -%}
    {%- endif -%}
    {{ return(relation) }}
  {%- endfor -%}
  {%- do exceptions.raise_compiler_error("flext_ldap_sync: no model is called " ~ model) -%}
{%- endmacro %}

{# A query for all lines, in their order. #}
{% macro ldap_singer_lines(items) -%}
{%- set version = (run_started_at.timestamp() * 1000) | int -%}
{%- set now = run_started_at.strftime('%Y-%m-%dT%H:%M:%SZ') -%}
{%- set state = {'bookmarks': {}} -%}
select line from (
{%- for item in items -%}
  {%- set columns = adapter.get_columns_in_relation(item.relation) -%}
  {%- set names = columns | map(attribute='name') | list -%}
  {%- set keys = ([item.key] if item.key is string else item.key) or (['dn'] if 'dn' in names else names[:1]) -%}
  {%- for name in keys if name not in names -%}
    {%- do exceptions.raise_compiler_error("flext_ldap_sync: " ~ item.relation ~ " has no column " ~ name ~ "; it has " ~ names | join(', ')) -%}
  {%- endfor -%}
  {%- set properties, selected = {}, [] -%}
  {%- for column in columns -%}
    {%- set property, expression = ldap.ldap_property(column) -%}
    {%- do properties.update({column.name: property}) -%}
    {%- do selected.append(expression ~ ' as ' ~ adapter.quote(column.name)) -%}
  {%- endfor -%}
  {%- set schema = {'type': 'SCHEMA', 'stream': item.stream, 'schema': {'type': 'object', 'properties': properties}, 'key_properties': keys} -%}
  {%- do state.bookmarks.update({item.stream: {'version': version}}) %}
  select {{ loop.index }} as part, 0 as kind, {{ ldap.ldap_literal(tojson(schema)) }} as line
  union all
  select {{ loop.index }}, 1, {{ ldap.ldap_literal('{"type":"RECORD","stream":' ~ tojson(item.stream) ~ ',"record":') }} ||
    {{ adapter.dispatch('ldap_row_as_json', 'ldap')('r') }} || {{ ldap.ldap_literal(',"version":' ~ version ~ ',"time_extracted":"' ~ now ~ '"}') }}
  from (select {{ selected | join(', ') }} from {{ item.relation }}) as r
  {%- if item.activate_version %}
  union all
  select {{ loop.index }}, 2, {{ ldap.ldap_literal(tojson({'type': 'ACTIVATE_VERSION', 'stream': item.stream, 'version': version})) }}
  {%- endif %}
  union all
{%- endfor %}
  select {{ items | length + 1 }}, 3, {{ ldap.ldap_literal(tojson({'type': 'STATE', 'value': state})) }}
) as lines
order by part, kind
{%- endmacro %}

{# A text as an SQL literal. #}
{% macro ldap_literal(text) -%}'{{ text | replace("'", "''") }}'{%- endmacro %}

{% macro duckdb__ldap_row_as_json(row) -%}cast(to_json({{ row }}) as varchar){%- endmacro %}
{% macro postgres__ldap_row_as_json(row) -%}cast(row_to_json({{ row }}) as text){%- endmacro %}

{# A file of lines as they are: no quotes, no header. The byte that divides columns is in no JSON text. #}
{% macro duckdb__ldap_write_lines(query, path) -%}
{%- do run_query('copy (' ~ query ~ ') to ' ~ ldap.ldap_literal(path) ~ " (format csv, header false, quote '', escape '', delimiter e'\\x01')") -%}
{%- endmacro %}

{% macro default__ldap_write_lines(query, path) -%}
{%- do exceptions.raise_compiler_error("flext_ldap_sync: `path` is for DuckDB, which writes files of its own. Leave it out and redirect what is printed: dbt --quiet run-operation flext_ldap_sync … > FILE") -%}
{%- endmacro %}

{# What a column is in the SCHEMA, and the expression for its value: [property, SQL]. #}
{% macro ldap_property(column) -%}
{%- set name, type = adapter.quote(column.name), column.dtype | lower -%}
{%- if type.endswith('[]') or type.startswith('array') or type.startswith('_') -%}
  {{ return([{'type': ['null', 'array'], 'items': {'type': ['null', 'string']}}, ldap.ldap_texts_of(name)]) }}
{%- elif type == 'json' or type == 'jsonb' -%}
  {{ return([{'type': ['null', 'string', 'number', 'boolean', 'array', 'object']}, name]) }}
{%- elif type == 'boolean' -%}
  {{ return([{'type': ['null', 'boolean']}, name]) }}
{%- elif type in ['tinyint', 'smallint', 'integer', 'bigint', 'hugeint', 'utinyint', 'usmallint', 'uinteger', 'ubigint', 'uhugeint', 'int2', 'int4', 'int8'] -%}
  {{ return([{'type': ['null', 'integer']}, name]) }}
{%- elif type.startswith('decimal') or type.startswith('numeric') or type in ['double', 'float', 'real', 'double precision'] -%}
  {{ return([{'type': ['null', 'number']}, name]) }}
{%- elif type.startswith('timestamp') -%}
  {{ return([{'type': ['null', 'string'], 'format': 'date-time'}, adapter.dispatch('ldap_rfc3339', 'ldap')(name, type)]) }}
{%- elif type == 'date' -%}
  {{ return([{'type': ['null', 'string'], 'format': 'date'}, 'cast(' ~ name ~ ' as ' ~ dbt.type_string() ~ ')']) }}
{%- elif type in ['blob', 'bytea'] -%}
  {{ return([{'type': ['null', 'string'], 'contentEncoding': 'base64'}, adapter.dispatch('ldap_base64', 'ldap')(name)]) }}
{%- else -%}
  {{ return([{'type': ['null', 'string']}, 'cast(' ~ name ~ ' as ' ~ dbt.type_string() ~ ')']) }}
{%- endif -%}
{%- endmacro %}

{% macro ldap_texts_of(name) -%}cast({{ name }} as {{ 'varchar[]' if target.type == 'duckdb' else 'text[]' }}){%- endmacro %}

{# A time in RFC 3339. One without a zone is taken for UTC, as loaders leave them. #}
{% macro duckdb__ldap_rfc3339(name, type) -%}
strftime({{ name }}{{ " at time zone 'UTC'" if 'zone' in type or type == 'timestamptz' }}, '%Y-%m-%dT%H:%M:%S.%fZ')
{%- endmacro %}
{% macro postgres__ldap_rfc3339(name, type) -%}
to_char({{ name }}{{ " at time zone 'UTC'" if 'with time zone' in type or type == 'timestamptz' }}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
{%- endmacro %}

{% macro duckdb__ldap_base64(name) -%}to_base64({{ name }}){%- endmacro %}
{% macro postgres__ldap_base64(name) -%}replace(encode({{ name }}, 'base64'), e'\n', ''){%- endmacro %}
