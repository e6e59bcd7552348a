// Which completions a group or a scope has, and which of them take part.
#pragma once
#include <cmath>
#include <limits>

#include "mmr_cpu.h"

namespace mmr {
namespace {

struct Range {
    int64_t begin, end;
};

Range positions_of_group(const Problem &p, int64_t group) {
    if (!p.group_offsets) return {group * p.group_size, (group + 1) * p.group_size};
    return {p.group_offsets[group], p.group_offsets[group + 1]};
}

Range positions_of_scope(const Problem &p, int64_t scope) {
    return p.batch_scope() ? Range{0, p.num_completions} : positions_of_group(p, scope);
}

bool takes_part(const Problem &p, int64_t i) { return std::isfinite(p.rewards[i]) && (!p.valid || p.valid[i]); }

// Lists the valid ones, and writes all outputs of the others.
void collect(const Problem &p, Workspace &w, Range positions, bool whole_batch) {
    w.count = 0;
    for (int64_t position = positions.begin; position < positions.end; ++position) {
        const int64_t i = p.order && !whole_batch ? p.order[position] : position;
        if (takes_part(p, i)) {
            w.members[w.count] = i;
            w.rewards[w.count++] = p.rewards[i];
            continue;
        }
        if (p.advantages) p.advantages[i] = 0;
        if (p.reweighted_rewards) p.reweighted_rewards[i] = std::numeric_limits<float>::quiet_NaN();
        if (p.selection_rank) p.selection_rank[i] = -1;
        if (p.max_similarity) p.max_similarity[i] = 0;
    }
}

}  // namespace
}  // namespace mmr
