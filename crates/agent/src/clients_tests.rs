use super::*;
use crate::shim::wire;
use rustix::net::{SocketAddrUnix, SocketFlags};
use std::os::fd::AsFd;

fn connect(path: &Path) -> OwnedFd {
    let kind = SocketType::SEQPACKET;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    socket
}

fn attach(path: &Path, job: u64, fds: usize) -> OwnedFd {
    let socket = connect(path);
    let file = tempfile::tempfile().unwrap();
    let job = JobId(job);
    let request = Request::Attach { job, terminal: false, ignored: 0, numbers: Vec::new() };
    wire::send(&socket, &request, &vec![file.as_fd(); fds], SendFlags::empty()).unwrap();
    socket
}

async fn answer(socket: OwnedFd) -> Answer {
    let receive = move || wire::receive(&socket, RecvFlags::empty()).unwrap().unwrap().0;
    tokio::task::spawn_blocking(receive).await.unwrap()
}

async fn served() -> (tempfile::TempDir, PathBuf, Arc<Clients>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sock");
    let clients = Arc::new(Clients::default());
    tokio::spawn(Arc::clone(&clients).serve(listen(&path).unwrap()));
    (folder, path, clients)
}

async fn until(what: impl Fn() -> bool) {
    let limit = Duration::from_secs(20);
    let wait = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(limit, wait).await.expect("this comes true in time");
}

#[tokio::test]
async fn a_client_is_taken_by_its_job_whichever_comes_first() {
    let (_folder, path, clients) = served().await;
    let early = attach(&path, 7, 3);
    clients.take(JobId(7), |_| true).await.launched(LeaseId(1), Path::new("/x"));
    assert_eq!(answer(early).await, Answer::Launched { lease: LeaseId(1), folder: "/x".into() });

    let waiting = Arc::clone(&clients);
    let taken = tokio::spawn(async move { waiting.take(JobId(8), |_| true).await });
    let late = attach(&path, 8, 3);
    taken.await.unwrap().refused("no");
    assert_eq!(answer(late).await, Answer::Refused { why: "no".into() });
}

#[tokio::test]
async fn another_users_client_is_refused_and_the_right_one_waited_for() {
    let (_folder, path, clients) = served().await;
    let stranger = attach(&path, 7, 3);
    until(|| clients.lock().len() == 1).await;
    let taken = clients.take(JobId(7), |_| false);
    assert!(tokio::time::timeout(Duration::from_millis(50), taken).await.is_err());
    let Answer::Refused { why } = answer(stranger).await else { panic!("it was launched") };
    assert_eq!(why, "job 7 belongs to another user");
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_descriptors_with_it() {
    let (_folder, path, clients) = served().await;
    let client = attach(&path, 7, 3);
    until(|| clients.lock().len() == 1).await;
    drop(client);
    until(|| clients.lock().is_empty()).await;
}

#[tokio::test]
async fn too_few_descriptors_are_refused() {
    let (_folder, path, clients) = served().await;
    let Answer::Refused { why } = answer(attach(&path, 7, 2)).await else { panic!("accepted") };
    assert_eq!(why, "2 descriptors came where 3 are needed");
    assert!(clients.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_cannot_fill_the_room() {
    let (_folder, path, clients) = served().await;
    let mut all = Vec::new();
    for _ in 0..CLIENTS_PER_USER_MAX {
        all.push(attach(&path, 7, 3));
    }
    until(|| clients.lock().len() == CLIENTS_PER_USER_MAX).await;
    let Answer::Refused { why } = answer(attach(&path, 7, 3)).await else { panic!("accepted") };
    assert!(why.starts_with("too many clients wait"), "{why}");
}
