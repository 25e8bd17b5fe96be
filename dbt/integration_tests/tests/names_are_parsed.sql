select * from {{ ref('names') }}
where cn is distinct from parsed_cn or ou is distinct from parsed_ou or dc is distinct from parsed_dc
  or parent is distinct from parsed_parent or depth is distinct from parsed_depth
  or (depth is null) <> (parsed_key is null)
