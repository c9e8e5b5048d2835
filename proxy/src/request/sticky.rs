//! Sticky sessions: what a request's cookies say about where its client stays, and which cookies
//! its response sets. Pure: keys, time and nonces are arguments.
//!
//! A cookie decides nothing by itself. It names a group among those of the rule, or a target among
//! the group's candidates, and what is not there is not found: no cookie, however made, leads to
//! anything else. Every cookie that is not to be read is as good as none, and the response
//! replaces it.

pub mod cookie;
pub mod ticket;

use crate::control::ids::GroupId;
use crate::http1::field::{Field, is};
use crate::upstream::identity::Identity;
use crate::upstream::stickiness::{Follows, Stickiness};
use cookie::{Site, cookies};
use ticket::{Keyring, Kind, NONCE, Ticket};

/// ALB's cookie beside that of the application. ALB spreads long ones over `-0` to `-3`; ours fit
/// into one.
const APPLICATION: &str = "AWSALBAPP-0";

/// ALB's cookie for the group of a weighted forward.
const GROUP: &str = "AWSALBTG";

/// What stands behind the name of the second cookie, which goes with requests from other sites.
const CORS: &str = "CORS";

/// The most cookies of one name that are opened. Browsers send two if a host and its parent domain
/// have set one each; whoever sends hundreds is not to be worked for.
const SAME_NAME_MAX: usize = 4;

/// How a rule keeps clients at the group that they first came to.
#[derive(Debug)]
pub struct Keeps {
    /// The rule, as cookies name it.
    pub scope: Identity,
    /// How long a client stays after its latest response, in milliseconds.
    pub duration: u64,
    /// The groups that get requests. One with weight 0 is not among them, so its clients move: that
    /// is how an operator empties a group.
    pub groups: Box<[(Identity, GroupId)]>,
}

impl Keeps {
    /// The group of that identity.
    #[must_use]
    pub fn group(&self, identity: Identity) -> Option<GroupId> {
        let mut groups = self.groups.iter();
        groups
            .find(|(of, _)| *of == identity)
            .map(|(_, group)| *group)
    }
}

/// What a request's cookies say about one matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Where the client stays.
    pub there: Option<Identity>,
    /// The cookie that said so, or else one that says other things.
    ticket: Ticket,
}

impl Found {
    /// `now`: milliseconds since 1970.
    fn new(
        keys: &Keyring,
        kind: Kind,
        name: [&str; 2],
        fields: &[Field<'_>],
        scope: Identity,
        now: u64,
    ) -> Self {
        let is_named =
            |given: &[u8]| given.strip_prefix(name[0].as_bytes()) == Some(name[1].as_bytes());
        let tickets = cookies(fields)
            .filter(|(given, _)| is_named(given))
            .take(SAME_NAME_MAX)
            .filter_map(|(_, value)| keys.open(kind, value));
        let mut found = Self::default();
        let mut is_first = true;
        for ticket in tickets {
            let there = ticket.find(scope, now);
            if is_first || there.is_some() {
                found = Self { there, ticket };
            }
            if there.is_some() {
                break;
            }
            is_first = false;
        }
        found
    }

    /// Of a cookie that has a twin for requests from other sites. As at ALB the twin counts if both
    /// came.
    fn of_twins(
        keys: &Keyring,
        kind: Kind,
        name: &str,
        fields: &[Field<'_>],
        scope: Identity,
        now: u64,
    ) -> Self {
        let twin = Self::new(keys, kind, [name, CORS], fields, scope, now);
        if twin.there.is_some() {
            return twin;
        }
        let plain = Self::new(keys, kind, [name, ""], fields, scope, now);
        if plain.there.is_some() || twin == Self::default() {
            plain
        } else {
            twin
        }
    }
}

/// At which group of a forward a client stays.
#[must_use]
pub fn of_rule(keys: &Keyring, keeps: &Keeps, fields: &[Field<'_>], now: u64) -> Found {
    Found::of_twins(keys, Kind::Group, GROUP, fields, keeps.scope, now)
}

/// At which target of a group a client stays.
#[must_use]
pub fn of_group(keys: &Keyring, with: &Stickiness, fields: &[Field<'_>], now: u64) -> Found {
    match &with.cookie {
        Follows::Balancer(name) => {
            Found::of_twins(keys, Kind::Target, name, fields, with.scope, now)
        }
        Follows::Application(name) => {
            let name_of_ours = [APPLICATION, ""];
            let found = Found::new(
                keys,
                Kind::Application,
                name_of_ours,
                fields,
                with.scope,
                now,
            );
            // Without the application's cookie the session is over, whatever ours says.
            let has_session = cookies(fields).any(|(given, _)| given == name.as_bytes());
            Found {
                there: found.there.filter(|_| has_session),
                ..found
            }
        }
    }
}

/// What a request needs to know for its cookies until its response.
#[derive(Debug)]
pub struct Sticky {
    /// The group that its target is picked from.
    pub group: GroupId,
    rule: Option<ByRule>,
    target: Option<Found>,
    /// The client knows what `SameSite=None` means.
    modern: bool,
}

/// A group that a rule chose, or that a client stays at.
#[derive(Debug, Clone, Copy)]
struct ByRule {
    scope: Identity,
    duration: u64,
    chosen: Identity,
    found: Found,
}

impl Sticky {
    /// Of a request for a target of `group`, chosen by a rule that `keeps` clients or not, if there
    /// is anything sticky about it.
    #[inline]
    #[must_use]
    pub fn new(
        group: GroupId,
        rule: Option<(&Keeps, Found)>,
        target: Option<Found>,
        fields: &[Field<'_>],
    ) -> Option<Box<Self>> {
        // Inlined up to here, so that nothing is moved for the requests that have nothing of this.
        if rule.is_none() && target.is_none() {
            return None;
        }
        Some(Box::new(Self::of(group, rule, target, fields)))
    }

    fn of(
        group: GroupId,
        rule: Option<(&Keeps, Found)>,
        target: Option<Found>,
        fields: &[Field<'_>],
    ) -> Self {
        let rule = rule.and_then(|(keeps, found)| {
            let (chosen, _) = keeps.groups.iter().find(|(_, of)| *of == group)?;
            Some(ByRule {
                scope: keeps.scope,
                duration: keeps.duration,
                chosen: *chosen,
                found,
            })
        });
        Self {
            group,
            rule,
            target,
            modern: fields
                .iter()
                .any(|field| is(field.name, "user-agent") && is_chromium_80(field.value)),
        }
    }

    /// The target at which the client stays.
    #[must_use]
    pub fn target(&self) -> Option<Identity> {
        self.target.and_then(|found| found.there)
    }

    /// Writes the Set-Cookie fields of a response that came from the target `at`. `with`: the
    /// stickiness of the group by now; none if it is off by now, or if the group is gone. `fields`:
    /// those of the target's response.
    pub fn set_cookies(
        &self,
        out: &mut Vec<u8>,
        with: Option<&Stickiness>,
        at: Identity,
        fields: &[Field<'_>],
        setting: &Setting<'_>,
        mut nonce: impl FnMut() -> [u8; NONCE],
    ) {
        let cors = if setting.secure {
            Site::AnySecure
        } else {
            Site::Any
        };
        let now = setting.now;
        if let Some(rule) = &self.rule {
            let until = now.saturating_add(rule.duration);
            let ticket = rule
                .found
                .ticket
                .renewed(rule.scope, rule.chosen, until, now);
            if let Some(sealed) = setting.keys.seal(Kind::Group, &ticket, nonce()) {
                let (value, expires) = (sealed.as_bytes(), setting.expires);
                cookie::push(out, &[GROUP], value, expires, Site::Default);
                cookie::push(out, &[GROUP, CORS], value, expires, cors);
            }
        }
        let (Some(with), Some(found)) = (with, &self.target) else {
            return;
        };
        let until = now.saturating_add(with.duration);
        let ticket = found.ticket.renewed(with.scope, at, until, now);
        match &with.cookie {
            Follows::Balancer(name) => {
                if let Some(sealed) = setting.keys.seal(Kind::Target, &ticket, nonce()) {
                    let (value, expires) = (sealed.as_bytes(), setting.expires);
                    cookie::push(out, &[name], value, expires, Site::Default);
                    cookie::push(out, &[name, CORS], value, expires, cors);
                }
            }
            Follows::Application(name) => {
                // A session that moved, because its target is gone, is at the new one from now on,
                // also if that says nothing about it.
                if !(cookie::sets(fields, name) || found.there.is_some()) {
                    return;
                }
                if let Some(sealed) = setting.keys.seal(Kind::Application, &ticket, nonce()) {
                    let site = if setting.secure && self.modern {
                        Site::AnySecure
                    } else {
                        Site::Default
                    };
                    let value = sealed.as_bytes();
                    cookie::push(out, &[APPLICATION], value, setting.expires, site);
                }
            }
        }
    }
}

/// What the cookies of a response depend on besides the request.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'s> {
    /// The keys.
    pub keys: &'s Keyring,
    /// Milliseconds since 1970.
    pub now: u64,
    /// Seven days from now, as an HTTP date. As at ALB this is how long a browser keeps a cookie;
    /// how long it means something is inside.
    pub expires: &'s [u8],
    /// The client's connection has TLS.
    pub secure: bool,
}

/// Whether a User-Agent is that of a Chromium from version 80 on: as ALB does, only these are told
/// `SameSite=None` with the application's session, because older browsers take it for `Strict`.
fn is_chromium_80(agent: &[u8]) -> bool {
    [b"Chrome/".as_slice(), b"Chromium/"].iter().any(|name| {
        memchr::memmem::find(agent, name).is_some_and(|at| {
            let digits = agent[at + name.len()..].iter();
            let digits = digits.take_while(|byte| byte.is_ascii_digit()).take(6);
            digits.fold(0, |number, byte| number * 10 + u32::from(byte - b'0')) >= 80
        })
    })
}

#[cfg(test)]
#[path = "sticky/fuzz_tests.rs"]
mod fuzz_tests;
#[cfg(test)]
#[path = "sticky_tests.rs"]
mod tests;
