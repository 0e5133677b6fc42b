//! The endpoints of now: those that were given, or those of a file that is read again and again.

use super::balancer::{Balancer, Share, Slot};
use super::endpoint::{Api, Endpoint, EndpointConfig};
use super::endpoint_list::{self, ListedEndpoint};
use super::limit::EndpointLimits;
use crate::backend::{BackendError, EndpointStatus};
use crate::text::counted;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, RwLock, Weak};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often the file is read. A change counts when two readings in a row see it, so that a file
/// that is half written changes nothing.
const EVERY: Duration = Duration::from_millis(500);

/// Requests at once that any endpoint bears.
const FEW: usize = 8;

/// The endpoints of a client. Each has a place, which is that of the balancer.
pub struct Members {
    endpoints: RwLock<Vec<Arc<Endpoint>>>,
    balancer: Balancer,
}

impl Members {
    /// Starts without any.
    pub fn new(limits: EndpointLimits) -> Arc<Members> {
        Arc::new(Members {
            endpoints: RwLock::default(),
            balancer: Balancer::new(0, limits),
        })
    }

    /// Returns what assigns requests to them.
    pub fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    /// Returns the endpoint at a place.
    pub fn at(&self, place: usize) -> Arc<Endpoint> {
        self.endpoints.read().expect("nobody panics with it")[place].clone()
    }

    /// Returns the state of each that is there, or still has requests in flight.
    pub fn status(&self) -> Vec<EndpointStatus> {
        let endpoints = self.endpoints.read().expect("nobody panics with it");
        self.balancer
            .status(endpoints.iter().map(|endpoint| endpoint.url()))
    }

    /// Adds an endpoint. Only one thread adds any.
    pub fn join(&self, endpoint: Endpoint, share: Share) {
        let place = self.balancer.vacancy();
        {
            let mut endpoints = self.endpoints.write().expect("nobody panics with it");
            match endpoints.get_mut(place) {
                Some(vacant) => *vacant = Arc::new(endpoint),
                None => endpoints.push(Arc::new(endpoint)),
            }
        }
        // From now on it gets requests.
        self.balancer.join(place, share);
    }

    /// Goes on without an endpoint of a list that refuses whatever it is asked: sets it aside.
    ///
    /// # Errors
    ///
    /// The error of the endpoint, if no other is left.
    pub fn without(&self, slot: Slot<'_>, url: &str, error: String) -> Result<(), BackendError> {
        let why = first_line(&error);
        match slot.refused() {
            Some(Duration::ZERO) => tracing::info!("endpoint '{url}', which is not listed any more: {why}"),
            // If all refuse, say for a wrong key, the last one's error is enough.
            Some(_) if self.balancer.answered() == 0 => {
                tracing::info!("endpoint '{url}': {why}; it is set aside");
            }
            Some(time) => {
                tracing::warn!("endpoint '{url}': {why}; it is set aside for {time:?}, the others go on");
            }
            None => return Err(BackendError::Fatal(error)),
        }
        Ok(())
    }

    /// Takes the endpoints of a list, and follows the file from then on, until the task is aborted
    /// or the members are dropped. What they have in common is `common`, whose address is passed
    /// over.
    ///
    /// # Errors
    ///
    /// If an address and `api` contradict each other.
    pub fn follow(
        self: &Arc<Self>,
        list: EndpointList,
        common: EndpointConfig,
        api: Api,
    ) -> Result<JoinHandle<()>, BackendError> {
        let (most, count) = (self.balancer.capacity(usize::MAX), list.count());
        if count * FEW > most {
            tracing::warn!(
                "at most {} at once for {}, since `ulimit -n` allows no more open files",
                counted(most, "request"),
                counted(count, "endpoint")
            );
        }
        let follower = Follower {
            members: Arc::downgrade(self),
            list,
            common,
            api,
        };
        self.take(&follower, &follower.list.endpoints)
            .map_err(BackendError::Fatal)?;
        Ok(tokio::spawn(follower.run()))
    }

    /// Takes the endpoints of a new reading: new ones join, others are changed, and those that are
    /// not in it are retired. Returns how many joined and how many left. On an error nothing
    /// changes.
    fn take(&self, follower: &Follower, listed: &[ListedEndpoint]) -> Result<(usize, usize), String> {
        let known: HashMap<String, usize> = {
            let endpoints = self.endpoints.read().expect("nobody panics with it");
            let keys = endpoints
                .iter()
                .map(|endpoint| endpoint_list::key(endpoint.url()).to_owned());
            keys.zip(0..).collect()
        };
        // All are built before any takes part.
        let mut new = Vec::new();
        for endpoint in listed
            .iter()
            .filter(|endpoint| !known.contains_key(endpoint.key()))
        {
            new.push((follower.endpoint(endpoint)?, share(endpoint)));
        }
        let (mut joined, mut left) = (new.len(), 0);
        let mut absent = known;
        for endpoint in listed {
            if let Some(place) = absent.remove(endpoint.key()) {
                joined += usize::from(self.balancer.is_retired(place));
                self.balancer.adjust(place, share(endpoint));
            }
        }
        for (url, place) in absent {
            if !self.balancer.is_retired(place) {
                tracing::info!("endpoint '{url}' is not listed any more");
                self.balancer.retire(place);
                left += 1;
            }
        }
        for (endpoint, share) in new {
            tracing::info!("endpoint '{}' is listed", endpoint.url());
            self.join(endpoint, share);
        }
        Ok((joined, left))
    }
}

fn share(endpoint: &ListedEndpoint) -> Share {
    Share {
        weight: endpoint.weight,
        limit: endpoint.limit,
    }
}

/// A file of addresses, and what it had when it was read.
pub struct EndpointList {
    path: PathBuf,
    endpoints: Vec<ListedEndpoint>,
}

impl EndpointList {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// As [`endpoint_list::read`].
    pub fn read(path: PathBuf) -> Result<EndpointList, BackendError> {
        let endpoints = endpoint_list::read(&path).map_err(BackendError::Fatal)?;
        Ok(EndpointList { path, endpoints })
    }

    /// Returns how many endpoints it has.
    pub fn count(&self) -> usize {
        self.endpoints.len()
    }

    /// Returns the file's name, without its folder.
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        name.to_string_lossy().into_owned()
    }

    /// Sets the name of the model in the only one of `common`, if it has none: that of the only
    /// model of the first endpoint that has one.
    ///
    /// # Errors
    ///
    /// The first endpoint's, if none has.
    pub async fn name_model(
        &self,
        common: &mut [EndpointConfig],
        http: &reqwest::Client,
        api: Api,
    ) -> Result<(), BackendError> {
        let Some(common) = common.first_mut() else {
            return Ok(());
        };
        let mut first = None;
        for endpoint in &self.endpoints {
            common.url.clone_from(&endpoint.url);
            match super::name_model(common, http, api).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    first.get_or_insert(error);
                }
            }
        }
        first.map_or(Ok(()), Err)
    }
}

/// Follows a file of addresses.
struct Follower {
    members: Weak<Members>,
    list: EndpointList,
    /// What all endpoints have in common.
    common: EndpointConfig,
    api: Api,
}

impl Follower {
    /// Makes an endpoint. An error names file and line.
    fn endpoint(&self, listed: &ListedEndpoint) -> Result<Endpoint, String> {
        let config = EndpointConfig {
            url: listed.url.clone(),
            ..self.common.clone()
        };
        let path = self.list.path.display();
        Endpoint::new(config, self.api).map_err(|error| format!("{path}:{}: {error}", listed.line))
    }

    async fn run(mut self) {
        let (mut seen, mut is_told) = (None, false);
        loop {
            tokio::time::sleep(EVERY).await;
            let path = self.list.path.clone();
            let Ok(reading) = tokio::task::spawn_blocking(move || endpoint_list::read(&path)).await else {
                // The runtime ends.
                return;
            };
            let is_settled = seen.as_ref() == Some(&reading);
            if is_settled {
                let Some(members) = self.members.upgrade() else {
                    return;
                };
                is_told = self.settle(&members, reading.clone(), is_told);
            }
            seen = Some(reading);
        }
    }

    /// Takes a reading that was the same twice. `is_told`: the user knows that the file is
    /// unusable, of which one line is enough. Returns whether that is so now.
    fn settle(
        &mut self,
        members: &Members,
        reading: Result<Vec<ListedEndpoint>, String>,
        is_told: bool,
    ) -> bool {
        let endpoints = match reading {
            Ok(endpoints) if endpoints == self.list.endpoints => return false,
            Ok(endpoints) => endpoints,
            Err(error) => return unusable(&error, is_told),
        };
        match members.take(self, &endpoints) {
            Ok((joined, left)) => {
                if joined + left > 0 {
                    tracing::warn!(
                        "{}: {joined} joined and {left} left; {} now",
                        self.list.path.display(),
                        counted(endpoints.len(), "endpoint")
                    );
                }
                self.list.endpoints = endpoints;
                false
            }
            Err(error) => unusable(&error, is_told),
        }
    }
}

/// Says once that the file is unusable.
fn unusable(error: &str, is_told: bool) -> bool {
    if !is_told {
        let why = first_line(error);
        tracing::warn!("{why}; until it is mended, the endpoints stay as they are");
    }
    true
}

/// Returns an error without its hint.
fn first_line(error: &str) -> &str {
    error.lines().next().unwrap_or_default()
}
