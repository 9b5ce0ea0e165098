// The daemon's half of e2e/properties-daemon.sh: what the real configurator makes of a file. One
// file, so that `java -cp 'jars/*' Daemon.java` runs it as it is.

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.slf4j.LoggerFactory;
import software.amazon.kinesis.multilang.config.KinesisClientLibConfigurator;
import software.amazon.kinesis.multilang.config.MultiLangDaemonConfiguration;
import software.amazon.kinesis.processor.ShardRecordProcessorFactory;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

public class Daemon {
    private static final Map<String, String> BASE = new LinkedHashMap<>();

    static {
        BASE.put("executableName", "sh");
        BASE.put("applicationName", "app");
        BASE.put("streamName", "words");
        // The names of keys and providers changed with the SDK that the daemon uses.
        boolean isNew = hasClass("software.amazon.kinesis.multilang.config.AwsCredentialsProviderPropertyValueDecoder");
        BASE.put(isNew ? "AwsCredentialsProvider" : "AWSCredentialsProvider",
                isNew ? "AnonymousCredentialsProvider" : "EnvironmentVariableCredentialsProvider");
    }

    private static boolean hasClass(String name) {
        try {
            Class.forName(name);
            return true;
        } catch (ClassNotFoundException none) {
            return false;
        }
    }

    private static final String[] VALUES = {
        "", "0", "1", "-1", " 7 ", "+7", "12", "60", "200", "100nf", "1.5", "1e3", "1.5d", "NaN", "0x10", "1_000", "10001",
        "2147483648", "99999999999999999999", "true", "TRUE", "true ", "yes", "on", "y", "false", "No", "off", "maybe",
        "LATEST", "latest", "LATEST ", "TRIM_HORIZON", "AT_TIMESTAMP", "NONE", "Summary", "DETAILED", "POLLING",
        "polling", "FANOUT", "DEFAULT", "PAY_PER_REQUEST", "PROVISIONED", "CLIENT_VERSION_CONFIG_3X",
        "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X", "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1", "PT12H", "p2d",
        "PT-1S", " PT1M ", "PT.5S", "P1DT1.5S", "-PT1S", "https://example.org", "https://example.org ", "example.org",
        "127.0.0.1:4566", "//example.org", "http://", "http://a b", "us-east-1", "a=b,c=d", "a=b,c,d=e=f",
        "Operation, ShardId", "DefaultCredentialsProvider", "DefaultAWSCredentialsProviderChain",
        "Nobody,AnonymousCredentialsProvider", "ProfileCredentialsProvider|x", "com.amazonaws.auth.Mine",
        "ContainerCredentialsProvider", "EnvironmentVariableCredentialsProvider", "InstanceProfileCredentialsProvider",
        "SystemPropertyCredentialsProvider", "WebIdentityTokenFileCredentialsProvider", "StaticCredentialsProvider",
        "StsAssumeRoleCredentialsProvider|a|b", "StsAssumeRoleCredentialsProvider|a", "StsAssumeRoleCredentialsProvider",
        "StsAssumeRoleCredentialsProvider|a|b|endpointRegion=us-east-1", "StsAssumeRoleCredentialsProvider|a|b|externalId=x=y",
        "StsAssumeRoleCredentialsProvider|a|b|endpointRegion=nowhere", "StsAssumeRoleCredentialsProvider|a|b|endpoint=x",
        "StsAssumeRoleCredentialsProvider|a|b|endpoint=sts.example.org^us-east-1|verbose",
        "arn:aws:kinesis:us-east-1:123456789012:stream/other", "arn:aws:kinesis:us-east-1:1:stream/other",
        "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/other", "arn:aws:s3:us-east-1:123456789012:stream/other",
        "arn:aws:kinesis::123456789012:stream/other", "words",
    };

    /** Errors of ours with which the daemon starts, and fails later. */
    private static final Set<String> STARTS = Set.of("executable-not-found", "not-a-program", "timeout-zero", "bad-name");

    /** Clients that are never closed. */
    private static final List<AutoCloseable> kept = new ArrayList<>();

    public static void main(String[] args) throws Exception {
        ((Logger) LoggerFactory.getLogger(Logger.ROOT_LOGGER_NAME)).setLevel(Level.OFF);
        Path folder = Path.of(args[1]);
        if (args[0].equals("generate")) {
            generate(folder, Files.readAllLines(Path.of(args[2])));
        } else {
            System.exit(compare(folder, Path.of(args[2]), Path.of(args[3])));
        }
    }

    private static void generate(Path folder, List<String> keys) throws IOException {
        int number = 0;
        for (String key : keys) {
            for (String value : VALUES) {
                // Might be a class of somebody's, so we say nothing of it.
                if (key.startsWith("AwsCredentials") && value.equals("example.org")) {
                    continue;
                }
                // A leading blank is dropped by the format, so it is escaped.
                write(folder, number++, Map.of(key, value.replaceFirst("^ ", "\\\\ ")));
            }
        }
        for (String polling : List.of("0", "1", "x")) {
            for (String mode : List.of("DEFAULT", "POLLING", "FANOUT")) {
                for (String key : keys.stream().filter(k -> !k.equals("retrievalMode")).toList()) {
                    write(folder, number++, Map.of("retrievalMode", mode, key, polling));
                }
            }
        }
        for (String unknown : List.of("foo", "a.b", "kinesisClient.foo", "dynamoDbClient.endpoint", "cloudWatchClient.a.b",
                "kinesisClient.Region", "pollingConfig.foo", "fanoutConfig.foo", "streamName.foo", "RetrievalMode", "MaxRecords",
                "consumerName", "workerId", "AWSCredentialsProvider", "awscredentialsproviderCloudWatch",
                "AwsCredentialsProviderCloudwatch", "pollingConfig.maxRecords", "cloudWatchEndpoint")) {
            write(folder, number++, Map.of(unknown, "AnonymousCredentialsProvider"));
            write(folder, number++, Map.of(unknown, "20000"));
        }
        for (String missing : BASE.keySet()) {
            write(folder, number++, Map.of(missing, "\0"));
        }
    }

    private static void write(Path folder, int number, Map<String, String> changes) throws IOException {
        Map<String, String> all = new LinkedHashMap<>(BASE);
        all.putAll(changes);
        String text = all.entrySet().stream()
                .filter(e -> !e.getValue().equals("\0"))
                .map(e -> e.getKey() + "=" + e.getValue() + "\n")
                .collect(Collectors.joining());
        Path file = folder.resolve(String.format("%06d.properties", number));
        Files.write(file, text.getBytes(StandardCharsets.ISO_8859_1));
    }

    private static int compare(Path folder, Path findings, Path effective) throws Exception {
        Map<String, Map<String, String>> ours = new HashMap<>();
        for (JsonNode row : new ObjectMapper().readTree(effective.toFile())) {
            JsonNode value = row.get("value");
            String note = row.get("note").asText();
            // Java code has more settings than the file; of two keys for one field either may win.
            if (note.startsWith("ignored") || note.startsWith("or ")) {
                continue;
            }
            ours.computeIfAbsent(row.get("file").asText(), file -> new HashMap<>())
                    .put(row.get("key").asText(), value.isNull() ? null : value.asText());
        }
        Set<String> stops = new HashSet<>();
        for (JsonNode row : new ObjectMapper().readTree(findings.toFile())) {
            boolean starts = STARTS.contains(row.get("name").asText())
                    || row.get("message").asText().startsWith("the daemon starts");
            if (row.get("severity").asText().equals("error") && !starts) {
                stops.add(row.get("file").asText());
            }
        }
        List<Path> files;
        try (Stream<Path> all = Files.list(folder)) {
            files = all.sorted().collect(Collectors.toList());
        }
        int failed = 0;
        for (Path file : files) {
            String difference = difference(file, stops.contains(file.toString()), ours.get(file.toString()));
            if (difference != null) {
                failed++;
                List<String> changed = Files.readAllLines(file, StandardCharsets.ISO_8859_1);
                changed.removeIf(line -> BASE.entrySet().stream().anyMatch(e -> line.equals(e.getKey() + "=" + e.getValue())));
                System.out.println(changed + ": " + difference);
            }
        }
        System.out.println((files.size() - failed) + " passed, " + failed + " failed");
        return failed == 0 && !files.isEmpty() ? 0 : 1;
    }

    private static String difference(Path file, boolean weSayItStops, Map<String, String> ours) {
        Map<String, Object> theirs;
        try {
            theirs = read(file, ours.keySet());
        } catch (Throwable stopped) {
            Throwable cause = stopped;
            while (cause.getCause() != null) {
                cause = cause.getCause();
            }
            return weSayItStops ? null : "the daemon stops: " + cause;
        }
        if (weSayItStops) {
            return "the daemon starts";
        }
        List<String> differences = new ArrayList<>();
        theirs.forEach((key, value) -> {
            if (ours.containsKey(key) && !same(value, ours.get(key))) {
                differences.add(key + " is " + value + " and not " + ours.get(key));
            }
        });
        return differences.isEmpty() ? null : differences.toString();
    }

    /** What the daemon would go on with, for those keys that it can be asked for. */
    private static Map<String, Object> read(Path file, Set<String> keys) throws Exception {
        Properties properties = new Properties();
        try (InputStream in = Files.newInputStream(file)) {
            properties.load(in);
        }
        if (properties.getProperty("executableName") == null) {
            throw new IllegalArgumentException("no executableName");
        }
        MultiLangDaemonConfiguration configuration = new KinesisClientLibConfigurator().getConfiguration(properties);
        Integer.parseInt(properties.getProperty("maxActiveThreads", "0"));
        Method resolve = MultiLangDaemonConfiguration.class.getDeclaredMethod(
                "resolvedConfiguration", ShardRecordProcessorFactory.class);
        resolve.setAccessible(true);
        ShardRecordProcessorFactory factory = () -> null;
        Object resolved = resolve.invoke(configuration, factory);

        Object leases = get(resolved, "getLeaseManagementConfig");
        Object coordinator = get(resolved, "getCoordinatorConfig");
        Object retrieval = get(resolved, "getRetrievalConfig");
        Object metrics = get(resolved, "getMetricsConfig");
        Object fetching = get(retrieval, "retrievalSpecificConfig");
        List<Object> beans = new ArrayList<>(List.of(leases, coordinator, metrics, get(resolved, "getLifecycleConfig"),
                get(resolved, "getProcessorConfig")));
        Map<String, Object> tables = new HashMap<>();
        // From 3.0 on.
        if (find(leases, "workerUtilizationAwareAssignmentConfig").isPresent()) {
            Object balance = get(leases, "workerUtilizationAwareAssignmentConfig");
            beans.addAll(List.of(balance, get(leases, "gracefulLeaseHandoffConfig")));
            tables.put("workerMetrics", get(balance, "workerMetricsTableConfig"));
            tables.put("coordinatorState", get(coordinator, "coordinatorStateTableConfig"));
        }
        Map<String, Object> map = new HashMap<>();
        for (String key : keys) {
            beans.forEach(bean -> ask(bean, key).ifPresent(value -> map.put(key, value)));
            ask(fetching, key.replace("fanoutConfig.", "")).ifPresent(value -> map.put(key, value));
            tables.forEach((prefix, table) -> {
                if (key.startsWith(prefix) && key.length() > prefix.length()) {
                    String rest = key.substring(prefix.length());
                    String name = Character.toLowerCase(rest.charAt(0)) + rest.substring(1);
                    ask(table, name).ifPresent(value -> map.put(key, value));
                }
            });
        }
        map.put("retrievalMode", fetching instanceof PollingConfig ? "POLLING" : "FANOUT");
        // In core it is the stream tracker that begins at LATEST where nothing is set.
        Object position = configuration.getInitialPositionInStream();
        map.put("initialPositionInStream", position == null ? "LATEST" : position);
        map.put("shutdownGraceMillis", configuration.getShutdownGraceMillis());
        map.put("timeoutInSeconds", Optional.ofNullable(configuration.getTimeoutInSeconds()));
        map.put("applicationName", configuration.getApplicationName());
        map.put("streamName", configuration.getStreamName());
        if (Optional.empty().equals(map.get("fanoutConfig.consumerName"))) {
            map.put("fanoutConfig.consumerName", configuration.getApplicationName());
        }
        // These are not the daemon's final word, or objects.
        for (String key : List.of("workerIdentifier", "shardPrioritization", "maxThroughputPerHostKBps", "workerMetricsTags",
                "coordinatorStateTags", "leaseAssignmentIntervalMillis", "tableMigrationCompleteBakeTimeSeconds")) {
            map.remove(key);
        }
        List<AutoCloseable> clients = List.of((AutoCloseable) get(retrieval, "kinesisClient"),
                (AutoCloseable) get(leases, "dynamoDBClient"), (AutoCloseable) get(metrics, "cloudWatchClient"));
        // The first ones stay open, as the last one to close takes two seconds for their threads.
        if (kept.isEmpty()) {
            kept.addAll(clients);
        } else {
            for (AutoCloseable client : clients) {
                client.close();
            }
        }
        return map;
    }

    private static Object get(Object bean, String method) throws Exception {
        Method found = bean.getClass().getDeclaredMethod(method);
        found.setAccessible(true);
        return found.invoke(bean);
    }

    /** What a bean's property is; empty if it has none of this name. */
    private static Optional<Object> ask(Object bean, String name) {
        Optional<Method> method = METHODS.computeIfAbsent(bean.getClass() + " " + name, none -> find(bean, name));
        return method.map(found -> {
            try {
                return Optional.ofNullable(found.invoke(bean));
            } catch (ReflectiveOperationException failure) {
                throw new IllegalStateException(failure);
            }
        });
    }

    /** Looking for a method that is not there is slow. */
    private static final Map<String, Optional<Method>> METHODS = new HashMap<>();

    private static Optional<Method> find(Object bean, String name) {
        for (Class<?> type = bean.getClass(); type != null; type = type.getSuperclass()) {
            try {
                Method found = type.getDeclaredMethod(name);
                found.setAccessible(true);
                return Optional.of(found);
            } catch (NoSuchMethodException none) {
                // Its parent may have it.
            }
        }
        return Optional.empty();
    }

    private static boolean same(Object theirs, String ours) {
        while (theirs instanceof Optional<?> optional) {
            theirs = optional.orElse(null);
        }
        if (theirs == null || ours == null) {
            return theirs == null && ours == null;
        }
        if (theirs instanceof Number number) {
            try {
                return Double.compare(number.doubleValue(), Double.parseDouble(ours)) == 0;
            } catch (NumberFormatException text) {
                return false;
            }
        }
        if (theirs instanceof Duration duration) {
            return duration.equals(Duration.parse(ours));
        }
        if (theirs instanceof Collection<?> collection) {
            return collection.equals(
                    Stream.of(ours.split(",")).filter(word -> !word.isEmpty()).collect(Collectors.toSet()));
        }
        return theirs.toString().equals(ours);
    }
}
