//! DescribeInstances.

use aws_sdk_ec2::types::Filter;
use longshore_emulator::{Fault, Host, Options, Times};

use crate::lab::{CLUSTER, Lab, code, quick};

fn ids(
    lab: &Lab,
    values: &[&str],
) -> aws_sdk_ec2::operation::describe_instances::builders::DescribeInstancesFluentBuilder {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    let filter = Filter::builder()
        .name("instance-id")
        .set_values(Some(values))
        .build();
    lab.ec2.describe_instances().filters(filter)
}

/// Five machines with ids that sort.
async fn five(options: Options) -> Lab {
    let lab = Lab::new(options, 0).await;
    for n in 1..=5 {
        let mut host = Host::new(lab.emulator.spare_address(), "eu-central-1b");
        host.ec2_instance_id = Some(format!("i-0000000000000000{n}"));
        lab.emulator.add_host(CLUSTER, host);
    }
    lab
}

#[tokio::test]
async fn a_machine_has_an_address_a_zone_and_a_state() {
    let lab = Lab::new(quick(), 0).await;
    let address = lab.emulator.spare_address();
    lab.emulator
        .add_host(CLUSTER, Host::new(address, "eu-central-1b"));
    let answer = lab.ec2.describe_instances().send().await;
    let answer = answer.expect("the machines are described");
    let reservation = answer.reservations().first().expect("one reservation");
    assert_eq!(reservation.owner_id(), Some("123456789012"));
    let machine = reservation.instances().first().expect("one machine");
    assert_eq!(
        machine.private_ip_address(),
        Some(address.to_string().as_str())
    );
    let zone = machine.placement().and_then(|p| p.availability_zone());
    assert_eq!(zone, Some("eu-central-1b"));
    let state = machine.state().and_then(|state| state.name());
    assert_eq!(state.map(|name| name.as_str()), Some("running"));
    assert!(machine.launch_time().is_some());
}

#[tokio::test]
async fn one_unknown_id_fails_the_whole_call() {
    let lab = five(quick()).await;
    let call = || {
        let call = lab.ec2.describe_instances();
        call.instance_ids("i-00000000000000001")
    };
    let answer = call().send().await.expect("it is known");
    assert_eq!(answer.reservations().len(), 1);
    let wrong = call().instance_ids("i-0fedcba9876543210").send().await;
    assert_eq!(code(wrong), "InvalidInstanceID.NotFound");
    let wrong = call().instance_ids("mi-0fedcba9876543210").send().await;
    assert_eq!(code(wrong), "InvalidInstanceID.Malformed");
    let wrong = call().max_results(10).send().await;
    assert_eq!(code(wrong), "InvalidParameterCombination");
}

#[tokio::test]
async fn an_unknown_id_in_a_filter_is_absent() {
    let lab = five(quick()).await;
    let call = ids(&lab, &["i-00000000000000002", "i-0fedcba9876543210"]);
    let answer = call.send().await.expect("the machines are described");
    let found: Vec<_> = answer
        .reservations()
        .iter()
        .flat_map(|r| r.instances())
        .filter_map(|machine| machine.instance_id())
        .collect();
    assert_eq!(found, ["i-00000000000000002"]);
}

#[tokio::test]
async fn machines_come_in_pages() {
    let options = Options {
        page_size: 2,
        ..quick()
    };
    let lab = five(options).await;
    let pages: Vec<_> = lab
        .ec2
        .describe_instances()
        .max_results(5)
        .into_paginator()
        .send()
        .collect::<Result<_, _>>()
        .await
        .expect("the pages come");
    let sizes: Vec<_> = pages.iter().map(|page| page.reservations().len()).collect();
    assert_eq!(sizes, [2, 2, 1]);
    for size in [4, 1001] {
        let wrong = lab.ec2.describe_instances().max_results(size).send();
        assert_eq!(code(wrong.await), "InvalidParameterValue");
    }
}

#[tokio::test]
async fn a_lost_machine_is_unknown_at_once() {
    let options = Options {
        loss_detection: std::time::Duration::from_secs(3600),
        ..quick()
    };
    let lab = five(options).await;
    lab.emulator
        .lose_host("i-00000000000000003")
        .expect("it is there");
    let call = lab.ec2.describe_instances();
    let wrong = call.instance_ids("i-00000000000000003").send().await;
    assert_eq!(code(wrong), "InvalidInstanceID.NotFound");
    let answer = ids(&lab, &["i-00000000000000003"]).send().await;
    assert_eq!(answer.expect("an empty answer").reservations().len(), 0);
    let hosts = lab.ecs.list_container_instances().cluster(CLUSTER).send();
    let hosts = hosts.await.expect("ECS does not know yet");
    assert_eq!(hosts.container_instance_arns().len(), 5);
}

#[tokio::test]
async fn the_faults_of_ec2_have_the_codes_of_ec2() {
    let lab = five(quick()).await;
    for (fault, expected) in [
        (Fault::Throttle, "RequestLimitExceeded"),
        (Fault::ServerError, "InternalError"),
        (Fault::AccessDenied, "UnauthorizedOperation"),
    ] {
        let faults = lab.emulator.faults();
        faults.fail("DescribeInstances", fault, Times::Next(1));
        let answer = lab.ec2.describe_instances().send().await;
        if fault == Fault::Throttle {
            let raw = answer.as_ref().expect_err("it fails").raw_response();
            assert_eq!(raw.map(|raw| raw.status().as_u16()), Some(503));
        }
        assert_eq!(code(answer), expected);
    }
    for fault in [Fault::MalformedBody, Fault::EmptyBody] {
        lab.emulator
            .faults()
            .fail("DescribeInstances", fault, Times::Next(1));
        let answer = lab.ec2.describe_instances().send().await;
        assert!(answer.is_err(), "{fault:?}");
    }
    let answer = lab.ec2.describe_instances().send().await;
    assert!(answer.is_ok());
    let wrong = lab.ec2.describe_vpcs().send().await;
    assert_eq!(code(wrong), "InvalidAction");
}
