//! What is read and what is refused, by http.md section 5 "Files".

use std::os::unix::fs::symlink;

use super::*;

struct Shown {
    _folder: tempfile::TempDir,
    attached: Attached,
}

/// A folder under two virtual paths and a file under one.
fn shown() -> Shown {
    let folder = tempfile::tempdir().unwrap();
    let (sandbox, log) = (folder.path().join("sandbox"), folder.path().join("log"));
    std::fs::create_dir_all(sandbox.join("sub")).unwrap();
    std::fs::write(sandbox.join("stdout"), "hello\n").unwrap();
    std::fs::write(sandbox.join("sub/big"), vec![b'x'; 200_000]).unwrap();
    std::fs::write(&log, "first\nsecond\n").unwrap();
    symlink("/etc/passwd", sandbox.join("out")).unwrap();
    symlink("stdout", sandbox.join("in")).unwrap();
    let attached = [("/box/latest", &sandbox), ("/box", &sandbox), ("/master/log", &log)];
    let attached = attached.into_iter().map(|(path, real)| (path.to_owned(), real.clone())).collect();
    Shown { _folder: folder, attached }
}

fn query(text: &str) -> Query {
    Query::parse(text)
}

fn status<T: std::fmt::Debug>(result: Result<T, FilesError>) -> u16 {
    result.unwrap_err().status().as_u16()
}

#[test]
fn browse_tells_what_ls_tells() {
    let shown = shown();
    let page = browse(&shown.attached, &query("path=/box/latest")).unwrap();
    let paths: Vec<&str> = page.as_array().unwrap().iter().map(|e| e["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/box/latest/in", "/box/latest/out", "/box/latest/stdout", "/box/latest/sub"]);
    let file = &page[2];
    assert_eq!((&file["size"], &file["nlink"]), (&json!(6), &json!(1)));
    assert!(file["mode"].as_str().unwrap().starts_with("-rw") && file["mode"].as_str().unwrap().len() == 10);
    assert!(file["mtime"].is_i64() || file["mtime"].is_u64());
    assert!(file["uid"].is_string() && file["gid"].is_string());
    let infos = list_files(&shown.attached, "/box").unwrap();
    assert_eq!((infos.len(), infos[2].size), (4, Some(6)));
}

#[test]
fn read_finds_the_end_and_cuts_at_sixteen_pages() {
    let shown = shown();
    let read = |text: &str| read(&shown.attached, &query(text));
    assert_eq!(read("path=/box/stdout").unwrap(), json!({"offset": 6, "data": ""}));
    assert_eq!(read("path=/box/stdout&offset=-1").unwrap(), json!({"offset": 6, "data": ""}));
    assert_eq!(read("path=/box/stdout&offset=1&length=3").unwrap(), json!({"offset": 1, "data": "ell"}));
    assert_eq!(read("path=/box/stdout&offset=2&length=-1").unwrap(), json!({"offset": 2, "data": "llo\n"}));
    assert_eq!(read("path=/box/stdout&offset=99").unwrap(), json!({"offset": 99, "data": ""}));
    assert_eq!(read("path=/box/in&offset=0").unwrap()["data"], "hello\n");
    assert_eq!(read("path=/master/log&offset=6").unwrap()["data"], "second\n");
    let big = read("path=/box/sub/big&offset=0").unwrap();
    assert_eq!(big["data"].as_str().unwrap().len(), 65_536);
    let chunk = read_file(&shown.attached, "/box/sub/big", 199_990, None).unwrap();
    assert_eq!((chunk.size, chunk.data.len()), (200_000, 10));
}

#[test]
fn what_makes_no_sense_is_400_and_what_is_not_there_404() {
    let shown = shown();
    for bad in [
        "",
        "path=",
        "path=/box/../etc/passwd",
        "path=/box/out",
        "path=/box/sub&offset=0",
        "path=/box/stdout&offset=-2",
        "path=/box/stdout&length=-2",
        "path=/box/stdout&offset=x",
        "path=/box/%00",
    ] {
        assert_eq!(status(read(&shown.attached, &query(bad))), 400, "{bad}");
    }
    for missing in ["path=/", "path=/other", "path=/box/none", "path=/box/stdout/x", "path=/master/log/x"] {
        assert_eq!(status(read(&shown.attached, &query(missing))), 404, "{missing}");
    }
    assert_eq!(status(browse(&shown.attached, &query(""))), 400);
    assert_eq!(status(browse(&shown.attached, &query("path=/none"))), 404);
    assert_eq!(status(list_files(&shown.attached, "/none")), 404);
}

#[tokio::test]
async fn a_download_is_the_whole_file() {
    let shown = shown();
    let mut download = download(shown.attached.clone(), query("path=/box/sub/big"), || ()).await.unwrap();
    assert_eq!(download.content_type, "application/octet-stream");
    assert_eq!(download.disposition, "attachment; filename=\"big\"");
    let mut size = 0;
    while let Some(part) = download.parts.recv().await {
        size += part.unwrap().len();
    }
    assert_eq!(size, 200_000);
    assert_eq!(status(super::download(shown.attached.clone(), query("path=/box/sub"), || ()).await), 400);
    assert_eq!(debug(&shown.attached).as_object().unwrap().len(), 3);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_and_never_told_an_end() {
    let shown = shown();
    let (file, size) = find(&shown.attached, "/box/sub/big").unwrap().file().unwrap();
    let (sender, mut parts) = mpsc::channel(1);
    let (cut, told) = tokio::sync::oneshot::channel();
    let sending = tokio::spawn(send(file, size, sender, Duration::from_millis(50), || cut.send(()).unwrap()));
    told.await.unwrap();
    // What was read before is there, an end is not: the connection is what ends.
    assert_eq!(parts.recv().await.unwrap().unwrap().len(), PART);
    assert!(parts.try_recv().is_err_and(|why| why == mpsc::error::TryRecvError::Empty));
    drop(parts);
    sending.await.unwrap();
}

#[test]
fn many_clients_that_take_nothing_hold_no_thread() {
    let shown = shown();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
    runtime.unwrap().block_on(async {
        let mut stalled = Vec::new();
        for _ in 0..20 {
            stalled.push(download(shown.attached.clone(), query("path=/box/sub/big"), || ()).await.unwrap());
        }
        let mut last = download(shown.attached.clone(), query("path=/box/sub/big"), || ()).await.unwrap();
        let read = async {
            let mut size = 0;
            while let Some(part) = last.parts.recv().await {
                size += part.unwrap().len();
            }
            size
        };
        assert_eq!(tokio::time::timeout(Duration::from_secs(20), read).await, Ok(200_000));
    });
}
