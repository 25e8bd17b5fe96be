{# What the macros say of the list's names. The texts of the list stand in brackets. -#}
with list as (
  select id, depth, same_as, substr(below, 2, length(below) - 2) as below,
    substr(dn, 2, length(dn) - 2) as dn,
    substr(cn, 2, length(cn) - 2) as cn, substr(ou, 2, length(ou) - 2) as ou,
    substr(dc, 2, length(dc) - 2) as dc, substr(parent, 2, length(parent) - 2) as parent
  from {{ ref('hard_dns') }}
)

select list.*,
  {{ ldap.parse_ldap_dn('dn', prefix='parsed_') }},
  {{ ldap.ldap_parent_dn('dn') }} as parsed_parent,
  {{ ldap.ldap_dn_key('dn') }} as parsed_key,
  {{ 'len' if target.type == 'duckdb' else 'cardinality' }}({{ ldap.ldap_dn_rdns('dn') }}) as parsed_depth
from list
