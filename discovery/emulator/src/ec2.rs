//! DescribeInstances of EC2: a form in, XML out.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::ApiError;
use crate::list;
use crate::model::HostKind;
use crate::options::Options;
use crate::render::private_name;
use crate::state::HostState;
use crate::world::World;

const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";
/// EC2's limits.
const PAGE: std::ops::RangeInclusive<usize> = 5..=1000;
const MOST_FILTER_VALUES: usize = 200;

/// A decoded form.
#[derive(Debug, Default)]
pub(crate) struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads `a=b&c=d`. Broken escapes stay as they are.
    pub(crate) fn parse(body: &str) -> Self {
        let pairs = body.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// `Name.1`, `Name.2`, … up to the first that is not there.
    fn list(&self, name: &str) -> Vec<&str> {
        (1..)
            .map_while(|n: usize| self.get(&format!("{name}.{n}")))
            .collect()
    }

    /// The page number that a request asks for.
    pub(crate) fn page_number(&self, operation: &str) -> u32 {
        list::page_number(operation, self.get("NextToken"))
    }

    /// Whether DescribeInstances has a filter or pages, and draws from the larger bucket.
    pub(crate) fn is_narrow(&self) -> bool {
        self.get("Filter.1.Name").is_some() || self.get("MaxResults").is_some()
    }
}

/// Undoes the escapes of a form.
pub(crate) fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *first == b'%').and_then(|hex| {
            let hex = std::str::from_utf8(hex).ok()?;
            u8::from_str_radix(hex, 16).ok()
        });
        match (escaped, first) {
            (Some(byte), _) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
                continue;
            }
            (None, b'+') => bytes.push(b' '),
            (None, other) => bytes.push(*other),
        }
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Makes a text fit between two tags.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// An error as EC2 writes it.
pub(crate) fn error_body(error: &ApiError, request: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{}</Code>\
         <Message>{}</Message></Error></Errors><RequestID>{request}</RequestID></Response>",
        error.code,
        escape(&error.message),
    )
}

/// Answers one request.
pub(crate) fn answer(
    form: &Form,
    world: &World,
    disrupted: &BTreeSet<String>,
    request: &str,
) -> Result<String, ApiError> {
    match form.get("Action") {
        Some("DescribeInstances") => {
            check_zones(form, world, disrupted)?;
            describe_instances(form, world, request)
        }
        Some(other) => {
            let message = format!("The action {other} is not valid for this web service.");
            Err(ApiError::new(400, "InvalidAction", message))
        }
        None => Err(ApiError::new(
            400,
            "MissingAction",
            "The request must contain the parameter Action.",
        )),
    }
}

fn describe_instances(form: &Form, world: &World, request: &str) -> Result<String, ApiError> {
    let ids = form.list("InstanceId");
    let size = match form.get("MaxResults") {
        Some(_) if !ids.is_empty() => {
            return Err(ApiError::new(
                400,
                "InvalidParameterCombination",
                "The parameter instancesSet cannot be used with the parameter maxResults",
            ));
        }
        Some(text) => page_size(text)?.min(world.options.page_size),
        None => usize::MAX,
    };
    let managed = form.get("IncludeManagedResources") == Some("true");
    // A machine that is lost is not known any more, whatever ECS thinks.
    let known: Vec<&HostState> = world
        .hosts
        .iter()
        .filter(|host| host.lost.is_none())
        .filter(|host| match host.kind {
            HostKind::Ec2 => true,
            HostKind::Managed => managed,
            HostKind::External => false,
        })
        .collect();
    check_ids(&ids, &known)?;
    let filters = filters(form)?;
    let found = known
        .into_iter()
        .filter(|host| ids.is_empty() || ids.contains(&host.ec2_id.as_str()))
        .filter(|host| filters.iter().all(|filter| filter.matches(host)))
        .map(|host| (host.ec2_id.clone(), host))
        .collect::<BTreeMap<_, _>>();
    let token = form.get("NextToken");
    let (page, next) = list::page(
        "DescribeInstances",
        found.into_iter().collect(),
        size,
        token,
    )
    .map_err(|error| ApiError::new(400, "InvalidNextToken", error.message))?;

    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DescribeInstancesResponse \
         xmlns=\"{NAMESPACE}\"><requestId>{request}</requestId><reservationSet>"
    );
    for host in page {
        xml.push_str(&reservation(host, &world.options, world));
    }
    xml.push_str("</reservationSet>");
    if let Some(next) = next {
        xml.push_str(&element("nextToken", &next));
    }
    xml.push_str("</DescribeInstancesResponse>");
    Ok(xml)
}

fn page_size(text: &str) -> Result<usize, ApiError> {
    let size = text.parse().ok().filter(|size| PAGE.contains(size));
    size.ok_or_else(|| {
        ApiError::new(
            400,
            "InvalidParameterValue",
            format!(
                "Value ( {text} ) for parameter maxResults is invalid. Expecting a value from \
                 5 to 1000."
            ),
        )
    })
}

/// A call that concerns a disrupted zone fails as a whole.
fn check_zones(form: &Form, world: &World, disrupted: &BTreeSet<String>) -> Result<(), ApiError> {
    let mut named = form.list("InstanceId");
    let filtered = (1_usize..).map_while(|n| Some((n, form.get(&format!("Filter.{n}.Name"))?)));
    for (n, _) in filtered.filter(|(_, name)| *name == "instance-id") {
        named.extend(form.list(&format!("Filter.{n}.Value")));
    }
    let mut hosts = world.hosts.iter();
    let concerned = hosts.any(|host| {
        let asked = named.is_empty() || named.contains(&host.ec2_id.as_str());
        asked && disrupted.contains(&host.zone)
    });
    match concerned {
        false => Ok(()),
        true => Err(ApiError::new(
            503,
            "Unavailable",
            "The availability zone is disrupted.",
        )),
    }
}

/// One bad id fails the whole call, as on EC2.
fn check_ids(ids: &[&str], known: &[&HostState]) -> Result<(), ApiError> {
    let well_formed = |id: &&str| {
        let digits = id.strip_prefix("i-").unwrap_or_default();
        (8..=17).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let unknown = |id: &&str| known.iter().all(|host| host.ec2_id != *id);
    let unfit: Vec<&str> = ids.iter().copied().filter(|id| unknown(id)).collect();
    if let Some(id) = unfit.iter().find(|id| !well_formed(id)) {
        return Err(ApiError::new(
            400,
            "InvalidInstanceID.Malformed",
            format!("Invalid id: \"{id}\""),
        ));
    }
    let message = match unfit.as_slice() {
        [] => return Ok(()),
        [one] => format!("The instance ID '{one}' does not exist"),
        many => format!("The instance IDs '{}' do not exist", many.join(", ")),
    };
    Err(ApiError::new(400, "InvalidInstanceID.NotFound", message))
}

struct Filter<'a> {
    read: fn(&HostState) -> String,
    values: Vec<&'a str>,
}

impl Filter<'_> {
    fn matches(&self, host: &HostState) -> bool {
        let value = (self.read)(host);
        self.values.iter().any(|wanted| *wanted == value)
    }
}

fn filters(form: &Form) -> Result<Vec<Filter<'_>>, ApiError> {
    let mut filters = Vec::new();
    for n in 1_usize.. {
        let Some(name) = form.get(&format!("Filter.{n}.Name")) else {
            break;
        };
        let read: fn(&HostState) -> String = match name {
            "instance-id" => |host| host.ec2_id.clone(),
            "private-ip-address" => |host| host.address.to_string(),
            "availability-zone" => |host| host.zone.clone(),
            "instance-state-name" => |_| "running".to_owned(),
            _ => {
                return Err(ApiError::new(
                    400,
                    "InvalidParameterValue",
                    format!("The filter '{name}' is invalid, or the emulator does not know it"),
                ));
            }
        };
        let values = form.list(&format!("Filter.{n}.Value"));
        if values.len() > MOST_FILTER_VALUES {
            return Err(ApiError::new(
                400,
                "FilterLimitExceeded",
                "A filter has at most 200 values",
            ));
        }
        filters.push(Filter { read, values });
    }
    Ok(filters)
}

fn element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", escape(text))
}

fn reservation(host: &HostState, options: &Options, world: &World) -> String {
    let address = host.address.to_string();
    let mut instance = String::new();
    for (name, text) in [
        ("instanceId", host.ec2_id.as_str()),
        ("imageId", "ami-0a1b2c3d4e5f60718"),
        ("privateDnsName", &private_name(&address)),
        ("dnsName", ""),
        ("instanceType", "c7g.large"),
        (
            "launchTime",
            &timestamp(world.clock.seconds(host.registered)),
        ),
        ("subnetId", "subnet-0a1b2c3d4e5f60718"),
        ("vpcId", "vpc-0a1b2c3d4e5f60718"),
        (private_address_member(host), &address),
        ("architecture", "arm64"),
    ] {
        instance.push_str(&element(name, text));
    }
    format!(
        "<item>{}{}<groupSet/><instancesSet><item>{instance}<instanceState><code>16</code>\
         <name>running</name></instanceState><placement>{}<tenancy>default</tenancy></placement>\
         <networkInterfaceSet/><tagSet/></item></instancesSet></item>",
        element(
            "reservationId",
            &format!("r-{}", host.ec2_id.trim_start_matches("i-"))
        ),
        element("ownerId", &options.account),
        element("availabilityZone", &host.zone),
    )
}

/// An IPv6 host has no private IPv4 address.
fn private_address_member(host: &HostState) -> &'static str {
    match host.address.is_ipv4() {
        true => "privateIpAddress",
        false => "ipv6Address",
    }
}

/// Writes seconds since 1970 as `2026-01-31T23:59:59.000Z`.
fn timestamp(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    let (days, rest) = (whole / 86_400, whole % 86_400);
    let mut year = 1970;
    let mut left = days;
    let length = |year: u64| {
        let every = |years: u64| year.is_multiple_of(years);
        let leap = every(4) && (!every(100) || every(400));
        (365 + u64::from(leap), if leap { 29 } else { 28 })
    };
    while left >= length(year).0 {
        left -= length(year).0;
        year += 1;
    }
    let february = length(year).1;
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < days {
            break;
        }
        left -= days;
        month += 1;
    }
    format!(
        "{year:04}-{month:02}-{:02}T{:02}:{:02}:{:02}.000Z",
        left + 1,
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_gives_back_what_was_escaped() {
        let form = Form::parse("Action=A%20b+c&InstanceId.1=i-1&InstanceId.2=%zz&x=%4");
        assert_eq!(form.get("Action"), Some("A b c"));
        assert_eq!(form.list("InstanceId"), ["i-1", "%zz"]);
        assert_eq!(form.get("x"), Some("%4"));
    }

    #[test]
    fn dates_know_leap_years() {
        assert_eq!(timestamp(0.0), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(951_782_400.0), "2000-02-29T00:00:00.000Z");
        assert_eq!(timestamp(1_793_577_599.0), "2026-11-01T23:59:59.000Z");
        assert_eq!(timestamp(1_798_761_599.0), "2026-12-31T23:59:59.000Z");
    }
}
