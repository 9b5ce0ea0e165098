// The JDK's half of e2e/properties.sh. One file, so that `java Jdk.java` runs it as it is.

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Properties;
import java.util.Random;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;

public class Jdk {
    /** Bytes that mean something to the format, and some that do not. */
    private static final byte[] HOSTILE =
            "\\\\\\\\\\\\uuuu00419aFfDd8gG==::  \t\f\n\n\n\r\r\r##!!nrtfkeyv\0\u007f\u0080\u0085\u00a0\u00c3\u00a4\u00ff"
                    .getBytes(StandardCharsets.ISO_8859_1);

    private static final String[] PIECES = {
        "\\u0041", "\\u00", "\\uD83D\\uDE00", "\\uD800", "\\u\\\n0041", "\\u00\\\r\n  41", "\\uuuu0041", "\\u+041",
        "\\\n", "\\\r\n", "\\\r", "\\\n\n", "\\\n#", "\\\\\n", "\\\\\\\n", "\\\n \t\f", "\r\n", "\n\r", "\\",
        "# comment \\\n", "! \\u\n", "key", "value", " = ", ":", "\\=", "\\:", "\\ ", "\\#", "\\t", "\\q", "=",
        "\u00ef\u00bb\u00bf", "executableName", "applicationName = app\n", "failoverTimeMillis=10000 \n", "\u0000",
    };

    public static void main(String[] args) throws IOException {
        Path folder = Path.of(args[1]);
        if (args[0].equals("generate")) {
            generate(folder, Integer.parseInt(args[2]), Long.parseLong(args[3]));
        } else {
            load(folder);
        }
    }

    private static void generate(Path folder, int count, long seed) throws IOException {
        Random random = new Random(seed);
        for (int number = 0; number < count; number++) {
            // One in 50 is long enough to cross the end of the JDK's buffer of 8192 bytes.
            int length = number % 50 == 0 ? 8150 + random.nextInt(90) : random.nextInt(80);
            StringBuilder text = new StringBuilder();
            while (text.length() < length) {
                switch (number % 3) {
                    case 0 -> text.append((char) (HOSTILE[random.nextInt(HOSTILE.length)] & 0xff));
                    case 1 -> text.append(PIECES[random.nextInt(PIECES.length)]);
                    // Any byte at all, with a backslash for every tenth.
                    default -> text.append(random.nextInt(10) == 0 ? '\\' : (char) random.nextInt(256));
                }
            }
            // A long file of bad escapes would only ever be refused: most get another letter.
            String kept = number % 2 == 0 ? text.toString() : text.toString().replace("\\u", "\\v");
            byte[] bytes = kept.getBytes(StandardCharsets.ISO_8859_1);
            Files.write(folder.resolve(String.format("%06d.properties", number)), bytes);
        }
    }

    /** One line a file: its name, then its map in hexadecimal UTF-16, sorted. */
    private static void load(Path folder) throws IOException {
        List<Path> files;
        try (Stream<Path> all = Files.list(folder)) {
            files = all.sorted().collect(Collectors.toList());
        }
        StringBuilder lines = new StringBuilder();
        for (Path file : files) {
            lines.append(file.getFileName()).append(' ').append(dump(file)).append('\n');
        }
        System.out.print(lines);
    }

    private static String dump(Path file) throws IOException {
        Properties properties = new Properties();
        try (InputStream in = Files.newInputStream(file)) {
            properties.load(in);
        } catch (IllegalArgumentException refused) {
            return "refused";
        }
        TreeMap<String, String> map = new TreeMap<>();
        properties.forEach((key, value) -> map.put(hex((String) key), hex((String) value)));
        return map.entrySet().stream().map(e -> e.getKey() + "=" + e.getValue()).collect(Collectors.joining(";"));
    }

    private static String hex(String text) {
        return text.chars().mapToObj(unit -> String.format("%04x", unit)).collect(Collectors.joining());
    }
}
