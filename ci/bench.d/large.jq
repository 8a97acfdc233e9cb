# Figures of one run, from its events.ndjson (jq -s): what the bench and the soak say of a large testnet.
def at(f): map(select(.kind | f) | .at);
def nodes: [.[] | select(.kind.type == "node") | .kind];
(at(.type == "run_started") | first) as $begin |
(at(.type == "ready") | first) as $ready |
(at(.type == "phase_started" and .name == "remove") | last) as $removing |
(map(.kind | select(.type == "fault_changed")) | map(.evidence)) as $faults |
# From the first acceptance of a block to that by 99 % of those that accept it in the end; blocks before the cut alone are seen by all.
(map(select(.kind.type == "fault_changed")) | first.at // infinite) as $cut |
([nodes[] | .record as $r | select($r.event.type == "block_accepted" and $r.event.source != "premine" and $r.time_ns < $cut and $r.time_ns > $ready)
    | { hash: $r.event.hash, at: $r.time_ns }] | group_by(.hash)
    | map(map(.at) | sort | select(length >= $chained * 0.99) | (.[(length * 0.99 | floor) - 1] - .[0]) / 1e6)) as $spread |
[
  { figure: "ready", value: (($ready - $begin) / 1e6) },
  ($spread[] | { figure: "spread", value: . }),
  ($faults[] | select(.change == "cut") | { figure: "commit", value: ((.table.committed_to_ns - .table.committed_from_ns) / 1e6) },
      { figure: "cut", value: .elapsed_ms })
] | .[]
