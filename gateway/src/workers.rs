//! A thread per core, each with a runtime of its own. What a request needs, from the client's connection to the one to Redis,
//! is one thread's: nothing wakes another thread, and what arrives together is asked and answered together.

use std::cell::Cell;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;

use tokio::runtime::{Builder, Handle, Runtime};

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// Which worker the calling thread is.
pub fn number() -> usize {
    NUMBER.get()
}

pub fn runtime() -> Result<Runtime, String> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))
}

pub struct Workers(Vec<Worker>);

struct Worker {
    handle: Handle,
    connections: AtomicUsize,
}

impl Workers {
    /// The runtime that it is called on is the first worker's; the others' threads last as long as the process.
    pub fn start(count: usize) -> Result<Arc<Self>, String> {
        let mut handles = vec![Handle::current()];
        for number in 1..count {
            let runtime = runtime()?;
            handles.push(runtime.handle().clone());
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    NUMBER.set(number);
                    runtime.block_on(std::future::pending::<()>());
                })
                .map_err(|error| format!("cannot start a thread: {error}"))?;
        }
        let worker = |handle| Worker {
            handle,
            connections: AtomicUsize::new(0),
        };
        Ok(Arc::new(Self(handles.into_iter().map(worker).collect())))
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Runs a task on the worker of this number.
    pub fn spawn(&self, number: usize, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(worker) = self.0.get(number) {
            worker.handle.spawn(task);
        }
    }

    /// Serves a connection on the worker that has the fewest.
    pub fn serve(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let connections = |(_, worker): &(usize, &Worker)| worker.connections.load(Relaxed);
        let Some((number, worker)) = self.0.iter().enumerate().min_by_key(connections) else {
            return;
        };
        worker.connections.fetch_add(1, Relaxed);
        let served = Served(Arc::clone(self), number);
        worker.handle.spawn(async move {
            let _served = served;
            task.await;
        });
    }
}

struct Served(Arc<Workers>, usize);

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(worker) = self.0 .0.get(self.1) {
            worker.connections.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::{mpsc, oneshot};

    #[tokio::test]
    async fn a_connection_goes_where_the_fewest_are() {
        let workers = Workers::start(3).unwrap();
        let (told, mut heard) = mpsc::unbounded_channel();
        let connect = || {
            let (hang_up, ended) = oneshot::channel::<()>();
            let told = told.clone();
            workers.serve(async move {
                told.send(number()).unwrap();
                let _ = ended.await;
            });
            hang_up
        };
        let mut open = Vec::new();
        let mut where_to = Vec::new();
        for _ in 0..6 {
            open.push(connect());
            where_to.push(heard.recv().await.unwrap());
        }
        assert_eq!(where_to, [0, 1, 2, 0, 1, 2]);
        drop(open.remove(4));
        let connections = |number: usize| workers.0[number].connections.load(Relaxed);
        while connections(1) != 1 {
            tokio::task::yield_now().await;
        }
        let _open = connect();
        assert_eq!(heard.recv().await, Some(1));
    }
}
