//! Full reads: messages, values, pages, partitions and memory.

mod entries_outside_the_scan;
mod full_table;
mod max_shrink;
mod memory;
mod non_utf8_dns;
mod only_dn;
mod page_limits;
mod paged_results;
mod partitions;
mod streaming_search;
