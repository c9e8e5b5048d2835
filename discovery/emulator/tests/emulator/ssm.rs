//! DescribeInstanceInformation of Systems Manager.

use aws_sdk_ssm::types::{InstanceInformation, InstanceInformationStringFilter};
use longshore_emulator::{Fault, Host, Times};

use crate::lab::{CLUSTER, Lab, code, quick};

fn filter(key: &str, values: Vec<String>) -> InstanceInformationStringFilter {
    InstanceInformationStringFilter::builder()
        .key(key)
        .set_values(Some(values))
        .build()
        .expect("complete")
}

fn id(n: usize) -> String {
    format!("mi-{n:017x}")
}

/// Machines outside AWS with ids that sort, and one instance of EC2.
async fn outside(count: usize) -> Lab {
    let lab = Lab::new(quick(), 1).await;
    for n in 0..count {
        let mut host = Host::external(lab.emulator.spare_address());
        host.ec2_instance_id = Some(id(n));
        lab.emulator.add_host(CLUSTER, host);
    }
    lab
}

fn ids(list: &[InstanceInformation]) -> Vec<String> {
    let ids = list.iter().filter_map(InstanceInformation::instance_id);
    ids.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_machine_outside_aws_is_known_to_systems_manager_and_not_to_ec2() {
    let lab = Lab::new(quick(), 1).await;
    let address = lab.emulator.spare_address();
    let arn = lab.emulator.add_host(CLUSTER, Host::external(address));
    let call = lab.ecs.describe_container_instances().cluster(CLUSTER);
    let answer = call.container_instances(arn).send().await;
    let answer = answer.expect("the host is described");
    let host = answer.container_instances().first().expect("it is there");
    let id = host.ec2_instance_id().expect("it has an id").to_owned();
    assert!(id.starts_with("mi-"), "{id}");

    let call = lab.ssm.describe_instance_information();
    let answer = call.send().await.expect("the machine is described");
    let [machine] = answer.instance_information_list() else {
        panic!("one machine: {answer:?}");
    };
    assert_eq!(machine.instance_id(), Some(id.as_str()));
    assert_eq!(machine.ip_address(), Some(address.to_string().as_str()));

    let answer = lab.ec2.describe_instances().send().await;
    let answer = answer.expect("the instances are described");
    assert_eq!(answer.reservations().len(), 1);
}

#[tokio::test]
async fn machines_come_in_pages_and_unknown_ones_are_absent() {
    let lab = outside(12).await;
    let call = || lab.ssm.describe_instance_information();
    let first = call().send().await.expect("a page");
    assert_eq!(first.instance_information_list().len(), 10);
    let token = first.next_token().expect("there are more");
    let second = call().next_token(token).send().await.expect("a page");
    assert_eq!(ids(second.instance_information_list()), [id(10), id(11)]);
    assert_eq!(second.next_token(), None);

    let wanted = filter("InstanceIds", vec![id(3), id(99)]);
    let answer = call().filters(wanted).max_results(50).send().await;
    let answer = answer.expect("an unknown id is no error");
    assert_eq!(ids(answer.instance_information_list()), [id(3)]);
}

#[tokio::test]
async fn the_bounds_of_systems_manager_hold() {
    let lab = outside(1).await;
    let call = || lab.ssm.describe_instance_information();
    for size in [4, 51] {
        let wrong = call().max_results(size).send().await;
        assert_eq!(code(wrong), "ValidationException");
    }
    let many = filter("InstanceIds", (0..101).map(id).collect());
    assert_eq!(
        code(call().filters(many).send().await),
        "ValidationException"
    );
    let other = filter("PingStatus", vec!["Online".to_owned()]);
    assert_eq!(code(call().filters(other).send().await), "InvalidFilterKey");
}

#[tokio::test]
async fn faults_are_told_as_systems_manager_tells_them() {
    let lab = outside(1).await;
    for (fault, expected) in [
        (Fault::Throttle, "ThrottlingException"),
        (Fault::ServerError, "InternalServerError"),
        (Fault::AccessDenied, "AccessDeniedException"),
    ] {
        let faults = lab.emulator.faults();
        faults.fail("DescribeInstanceInformation", fault, Times::Next(1));
        let call = lab.ssm.describe_instance_information().send().await;
        assert_eq!(code(call), expected);
    }
}
