//! Many tasks: those of some services are HTTP servers, and those of all others only exist. Ten
//! thousand processes are no part of what is tested with ten thousand tasks.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use longshore_emulator::{
    BoxFuture, Emulator, Host, HttpTasks, Options, RunningTask, TaskRuntime, TaskStart,
};
use tokio::sync::watch;

use crate::cluster::Cluster;

/// Starts an emulator with a cluster `prod`, so many hosts in three zones, and real processes for
/// the named services alone.
pub async fn start(options: Options, hosts: usize, real: &[&str]) -> Cluster {
    let tasks = HttpTasks::new();
    let runtime = Split {
        tasks: tasks.clone(),
        real: real.iter().map(|name| (*name).to_owned()).collect(),
    };
    let ecs = Emulator::start(options, Arc::new(runtime))
        .await
        .expect("the emulator starts");
    ecs.create_cluster("prod");
    for number in 0..hosts {
        let zone = ["eu-central-1a", "eu-central-1b", "eu-central-1c"][number % 3];
        ecs.add_host("prod", Host::new(ecs.spare_address(), zone));
    }
    Cluster { ecs, tasks }
}

struct Split {
    tasks: HttpTasks,
    real: BTreeSet<String>,
}

impl TaskRuntime for Split {
    fn start(&self, task: TaskStart) -> BoxFuture<'static, io::Result<Box<dyn RunningTask>>> {
        if self.real.contains(&task.service) {
            return self.tasks.start(task);
        }
        Box::pin(async {
            let task: Box<dyn RunningTask> = Box::new(Idle(watch::Sender::new(false)));
            Ok(task)
        })
    }
}

/// A task without a process. It ends as soon as it is told to.
struct Idle(watch::Sender<bool>);

impl RunningTask for Idle {
    fn terminate(&self) {
        self.0.send_replace(true);
    }

    fn kill(&self) {
        self.0.send_replace(true);
    }

    fn exited(&self) -> BoxFuture<'_, ()> {
        let mut ended = self.0.subscribe();
        Box::pin(async move {
            // The sender lives as long as the task.
            drop(ended.wait_for(|ended| *ended).await);
        })
    }
}
