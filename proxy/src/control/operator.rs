//! What operators change at single targets and zones while the process runs. Pure.

use super::controller::Controller;

/// A change at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It gets no new requests, or gets them again. Those in flight go on.
    Drained(bool),
    /// It has this weight; none: that of its source.
    Weight(Option<u16>),
}

impl Controller {
    /// Changes the targets of a group with that id or address.
    pub(super) fn change(
        &mut self,
        group: &str,
        target: &str,
        change: Change,
    ) -> Result<(), String> {
        let id = self.group_named(group);
        let id = id.ok_or_else(|| format!("there is no target group {group:?}"))?;
        let mut found = false;
        let members = self
            .groups
            .get_mut(&id)
            .map(|group| group.members.iter_mut());
        for member in members.into_iter().flatten() {
            let is_it =
                *member.endpoint.name == *target || member.target.address.to_string() == target;
            if is_it {
                found = true;
                match change {
                    Change::Drained(drained) => member.drained = drained,
                    Change::Weight(weight) => member.weight = weight,
                }
                tracing::info!(target_group = group, target = %member.target.key, address = %member.target.address, ?change, "changed by an operator");
            }
        }
        if !found {
            return Err(format!("target group {group:?} has no target {target:?}"));
        }
        self.stale.insert(id);
        Ok(())
    }

    /// Moves requests away from these zones, besides those of the file.
    pub(super) fn shift_too(&mut self, zones: Vec<String>) {
        self.away_by_operator = zones;
        let of_file = self.file.load_balancer.zonal_shift.away_from.clone();
        self.shift(&of_file);
    }
}
