{# As loaders leave arrays: JSON. -#}
{%- set json = 'json' if target.type == 'duckdb' else 'jsonb' -%}
select 'cn=staff,ou=groups,dc=example,dc=com' as dn, cast('["staff"]' as {{ json }}) as cn, 'Everybody' as description,
  cast('["UID=Ada, OU=People, DC=example, DC=com", "uid=ada,ou=people,dc=example,dc=com", "uid=grace\\,hopper,ou=people,dc=example,dc=com", "cn=admins,ou=groups,dc=example,dc=com", "uid=nobody,dc=example,dc=com", "no name"]' as {{ json }}) as member
union all
select 'cn=admins,ou=groups,dc=example,dc=com', cast('["admins"]' as {{ json }}), null, cast('[]' as {{ json }})
union all
select 'cn=empty,ou=groups,dc=example,dc=com', cast('["empty", "void"]' as {{ json }}), '  ', null
