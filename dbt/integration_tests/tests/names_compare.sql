{# All pairs: the same key where the list says the same name, and only there; below what it says, and only that. -#}
select a.dn, b.dn as other, a.parsed_key, b.parsed_key as other_key
from {{ ref('names') }} as a cross join {{ ref('names') }} as b
where a.depth is not null and b.depth is not null
  and ((a.same_as = b.same_as) <> (a.parsed_key = b.parsed_key)
    or (' ' || a.below || ' ' like '% ' || b.id || ' %') is distinct from {{ ldap.is_descendant_of('a.dn', 'b.dn') }}
    or (' ' || a.below || ' ' like '% ' || b.id || ' %' or a.same_as = b.same_as)
      is distinct from {{ ldap.is_descendant_of('a.dn', 'b.dn', or_self=true) }})
