{# One row of each type that flext_ldap_sync knows, and a deletion. -#}
{%- set bytes = "'\\x00\\xFF'::blob" if target.type == 'duckdb' else "'\\x00ff'::bytea" -%}
{%- set list = "['a', 'b,c', 'd\"e']::varchar[]" if target.type == 'duckdb' else "array['a', 'b,c', 'd\"e']" -%}
select 'uid=ada,ou=people,dc=example,dc=com' as dn, 'O''Brien "Ada" \ ' || chr(10) || 'é' as cn, {{ list }} as mail, cast(42 as bigint) as "departmentNumber",
  true as locked, cast(1.50 as decimal(5, 2)) as ratio, timestamp '2026-11-24 10:00:00.25' as seen,
  timestamptz '2026-11-24 10:00:00+02' as changed, date '2026-11-24' as born, {{ bytes }} as photo,
  cast('{"a": [1]}' as {{ 'json' if target.type == 'duckdb' else 'jsonb' }}) as extra, cast(null as timestamp) as _sdc_deleted_at
union all
select 'uid=gone,ou=people,dc=example,dc=com', null, null, null, null, null, null, null, null, null, null, timestamp '2026-11-24 11:00:00'
