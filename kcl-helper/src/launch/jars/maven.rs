//! Letting the user's Maven fetch jars: a POM made for the purpose, a folder to copy them into.
//!
//! Maven brings what a company has set up in its settings: mirrors, proxies, credentials.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use tempfile::TempDir;

use super::{Faulty, Jar, examine};
use crate::error::{Error, Exit, Result};
use crate::files::{open_regular_file, publish, replace_private_file};
use crate::guardian::Guardian;
use crate::launch::command::flag;
use crate::launch::daemon::Daemon;
use crate::output::Reporter;
use crate::secret::Masked;

/// The plugin is pinned, so that a lock does not depend on the day.
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// What Maven has copied, laid out as a repository: `group/as/folders/artifact/version/file`.
#[derive(Debug)]
pub(super) struct Resolution {
    folder: TempDir,
}

impl Resolution {
    /// A daemon and whatever Maven finds that it needs.
    pub(super) fn of(
        daemon: Daemon,
        folder: TempDir,
        guardian: &Guardian,
        reporter: &Reporter,
    ) -> Result<Resolution> {
        let (group, artifact) = daemon.artifact();
        let version = daemon.version().to_string();
        let dependency = dependency(group, artifact, &version, None, Needs::Follow);
        run(&pom(&[dependency]), folder, guardian, reporter)
    }

    /// Exactly these jars. What they need is in the lock as well, so Maven need not follow it.
    pub(super) fn exactly(
        jars: &[&Jar],
        folder: TempDir,
        guardian: &Guardian,
        reporter: &Reporter,
    ) -> Result<Resolution> {
        let dependencies: Vec<String> = jars
            .iter()
            .map(|jar| {
                let Jar { group, artifact, version, .. } = jar;
                dependency(group, artifact, version, jar.classifier(), Needs::Ignore)
            })
            .collect();
        run(&pom(&dependencies), folder, guardian, reporter)
    }

    /// Moves one jar to its place, if it is as locked.
    pub(super) fn take(&self, jar: &Jar, folder: &Path) -> Result<()> {
        let copied = self.folder.path().join("lib").join(jar.repository_path());
        examine(&copied, jar).map_err(|fault| {
            let faulty = Faulty { jar: jar.clone(), fault };
            Error::new(
                Exit::Environment,
                format!("what Maven gave is not what is locked: {faulty}"),
            )
            .hint("is it spoilt in Maven's own repository (~/.m2)? Delete it there and try again")
        })?;
        let target = folder.join(&jar.file);
        publish(&copied, &target).map_err(|error| super::unwritable(&target, error))
    }

    /// All jars that were copied.
    pub(super) fn jars(&self) -> Result<Vec<Jar>> {
        let root = self.folder.path().join("lib");
        let mut jars = Vec::new();
        collect(&root, &mut Vec::new(), &mut jars).map_err(|error| {
            Error::new(Exit::Environment, "what Maven has copied cannot be read").because(error)
        })?;
        if jars.is_empty() {
            return Err(Error::new(Exit::Environment, "Maven found no jars"));
        }
        Ok(jars)
    }
}

fn run(pom: &str, folder: TempDir, guardian: &Guardian, reporter: &Reporter) -> Result<Resolution> {
    let pom_file = folder.path().join("pom.xml");
    replace_private_file(&pom_file, pom.as_bytes())
        .map_err(|error| super::unwritable(&pom_file, error))?;
    let mut words = ["mvn", "-q", "-B", "-f"].map(OsString::from).to_vec();
    words.push(pom_file.into());
    words.extend(
        [COPY, "-DincludeScope=runtime", "-Dmdep.useRepositoryLayout=true"].map(OsString::from),
    );
    words.push(flag("-DoutputDirectory=", &folder.path().join("lib")));
    let output = guardian.output(words).map_err(|error| {
        Error::new(Exit::Environment, "Maven (mvn) cannot be started")
            .because(error)
            .hint("install it, or name a repository with --repository or KCL_MVN_REPO_SEARCH_URL")
    })?;
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    // Some Mavens send codes for colours whatever they are asked.
    let said = anstream::adapter::strip_str(&said).to_string();
    // It quotes addresses and settings.
    let said = Masked::of_text(said).to_string();
    said.trim_end().lines().for_each(|line| reporter.detail(&format!("maven | {line}")));
    if output.status.success() {
        return Ok(Resolution { folder });
    }
    let why = match said.trim() {
        "" => "it said nothing",
        // The first of its errors that is not blank says most, else its first line.
        said => said
            .lines()
            .filter_map(|line| line.strip_prefix("[ERROR]").map(str::trim))
            .find(|line| !line.is_empty())
            .or_else(|| said.lines().next())
            .unwrap_or(said),
    };
    let message = format!("Maven could not fetch the jars ({})", output.status);
    Err(Error::new(Exit::Environment, message)
        .because(why.to_owned())
        .hint("-v shows all that Maven says"))
}

/// Whether Maven follows what a jar declares that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Follow,
    Ignore,
}

fn dependency(
    group: &str,
    artifact: &str,
    version: &str,
    classifier: Option<&str>,
    needs: Needs,
) -> String {
    let mut xml = format!(
        "    <dependency>\n      <groupId>{}</groupId>\n      <artifactId>{}</artifactId>\n      \
         <version>{}</version>\n",
        escape(group),
        escape(artifact),
        escape(version)
    );
    if let Some(classifier) = classifier {
        xml.push_str(&format!("      <classifier>{}</classifier>\n", escape(classifier)));
    }
    if needs == Needs::Ignore {
        xml.push_str(
            "      <exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId>\
             </exclusion></exclusions>\n",
        );
    }
    xml.push_str("    </dependency>\n");
    xml
}

fn pom(dependencies: &[String]) -> String {
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n  \
         <modelVersion>4.0.0</modelVersion>\n  <groupId>kcl-helper</groupId>\n  <artifactId>jars</artifactId>\n  <version>1</version>\n  \
         <packaging>pom</packaging>\n  <dependencies>\n{}  </dependencies>\n</project>\n",
        dependencies.concat()
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Walks the repository layout; `parts` are the folders above.
fn collect(folder: &Path, parts: &mut Vec<String>, jars: &mut Vec<Jar>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            parts.push(name);
            collect(&entry.path(), parts, jars)?;
            parts.pop();
            continue;
        }
        // Maven's own notes stand beside the jars.
        if let ([group @ .., artifact, version], true) = (parts.as_slice(), name.ends_with(".jar"))
        {
            jars.push(Jar {
                file: name,
                group: group.join("."),
                artifact: artifact.clone(),
                version: version.clone(),
                size: entry.metadata()?.len(),
                sha256: super::checksum(open_regular_file(&entry.path())?)?,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pom_names_what_is_wanted() {
        let dependencies = [
            dependency("g", "a&b", "1", Some("linux"), Needs::Ignore),
            dependency("h", "c", "2", None, Needs::Follow),
        ];
        insta::assert_snapshot!(pom(&dependencies), @r#"
        <project xmlns="http://maven.apache.org/POM/4.0.0">
          <modelVersion>4.0.0</modelVersion>
          <groupId>kcl-helper</groupId>
          <artifactId>jars</artifactId>
          <version>1</version>
          <packaging>pom</packaging>
          <dependencies>
            <dependency>
              <groupId>g</groupId>
              <artifactId>a&amp;b</artifactId>
              <version>1</version>
              <classifier>linux</classifier>
              <exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>
            </dependency>
            <dependency>
              <groupId>h</groupId>
              <artifactId>c</artifactId>
              <version>2</version>
            </dependency>
          </dependencies>
        </project>
        "#);
    }
}
