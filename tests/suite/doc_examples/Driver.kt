// Tests the client of docs/clients/kotlin.md against the statements of its page. Exits with 0 if all are true.
import com.sun.net.httpserver.HttpServer
import java.net.HttpURLConnection
import java.net.InetAddress
import java.net.InetSocketAddress
import java.net.URI
import java.net.URLEncoder
import java.util.concurrent.atomic.AtomicInteger
import kotlin.concurrent.thread
import kotlin.system.exitProcess
import kotlinx.coroutines.Deferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.onEach
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import org.json.JSONObject

val base: String = System.getenv("BASE")
val email: String = System.getenv("EMAIL")
val password: String = System.getenv("PASSWORD")

fun setReply(path: String, reply: JSONObject) {
    val connection = URI("${System.getenv("SANDBOX")}/replies/$path").toURL().openConnection() as HttpURLConnection
    connection.requestMethod = "PUT"
    connection.doOutput = true
    connection.outputStream.use { it.write(reply.toString().toByteArray()) }
    check(connection.responseCode == 200) { path }
}

fun setCatchUp(room: String, text: String) {
    val path = "call-catchup/" + URLEncoder.encode(room, "UTF-8").replace("+", "%20")
    setReply(path, JSONObject().put("data", text))
}

fun fails(status: Int, call: () -> Unit): ApiException {
    try {
        call()
    } catch (failure: ApiException) {
        check(failure.status == status) { "$failure, not $status" }
        return failure
    }
    error("no $status")
}

fun field(proconf: Proconf, name: String) = proconf.javaClass.getDeclaredField(name).apply { isAccessible = true }

fun expire(proconf: Proconf) = field(proconf, "token").set(proconf, "expired")

/** Runs `use` while a captive portal answers the requests with its login page, and until it has answered `count`. */
fun behindPortal(proconf: Proconf, count: Int, use: () -> Unit) {
    val answered = AtomicInteger()
    val portal = HttpServer.create(InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0)
    portal.createContext("/") { exchange ->
        exchange.responseHeaders.add("Content-Type", "text/html")
        exchange.sendResponseHeaders(200, 0)
        exchange.responseBody.use { it.write("<html></html>".toByteArray()) }
        answered.incrementAndGet()
    }
    portal.start()
    field(proconf, "base").set(proconf, "http://127.0.0.1:${portal.address.port}")
    use()
    val deadline = System.nanoTime() + 20_000_000_000
    while (answered.get() < count) {
        check(System.nanoTime() < deadline) { "only $answered requests" }
        Thread.sleep(10)
    }
    field(proconf, "base").set(proconf, base)
    portal.stop(0)
}

fun testCatchUps(proconf: Proconf) {
    // The second response is a 304.
    setCatchUp("testRoom", "One.")
    check(proconf.catchUp("testRoom") == CatchUp("One.", true, 0))
    check(proconf.catchUp("testRoom") == CatchUp("One.", false, 0))
    for (room in listOf("a b", "a+b", "Q&A #1: 100%", "a?b=c", "комната", "%41", "a;b", "*x", "x".repeat(255))) {
        setCatchUp(room, "of $room")
        check(proconf.catchUp(room).text == "of $room") { room }
        check(runBlocking { proconf.follow(room).first() } == "of $room") { room }
    }
    for (room in listOf("", " ", "..", "a/b", "%2f", "\n", "x".repeat(256))) fails(400) { proconf.catchUp(room) }
}

fun testOtherMethods(proconf: Proconf) {
    check(proconf.status("testRoom").has("recording_status"))
    check(proconf.meetings().getJSONObject(0).getString("room_name") == "endedRoom")
    check(proconf.config().getJSONObject("features").length() > 0)
    check(proconf.callToken("member", "testRoom", "Ann").split(".").size == 3)
    fails(403) { proconf.callToken("king", "testRoom", "Ann") }
    fails(404) { proconf.summary("testRoom") }
}

/** Threads that get a 401 share one renewal: a refresh token works once. */
fun testRenewal(proconf: Proconf) {
    expire(proconf)
    val failures = AtomicInteger()
    List(10) { thread { runCatching { proconf.config() }.onFailure { failures.incrementAndGet() } } }.forEach { it.join() }
    check(failures.get() == 0)
}

/** `watch` and `follow` emit each text once, and survive failures and a captive portal. */
fun testFlows(proconf: Proconf) = runBlocking {
    setCatchUp("testRoom", "1")
    val seen = ArrayList<String>()
    proconf.watch("testRoom", everyMillis = 10).take(2).collect { text ->
        seen += text
        if (seen.size == 1) {
            setReply("call-catchup/testRoom", JSONObject().put("status", 500))
            behindPortal(proconf, 3) { check(fails(200) { proconf.catchUp("testRoom") }.isRetryable) }
            setCatchUp("testRoom", "2")
        }
    }
    check(seen == listOf("1", "2")) { seen }

    val odd = "4: \u2028 \u2029 ü\n\ndata: {}\r\n🎥"
    lateinit var following: Deferred<List<String>>
    behindPortal(proconf, 1) {
        following = async(Dispatchers.IO) {
            proconf.follow("testRoom").onEach { if (it == "2") setCatchUp("testRoom", odd) }.take(2).toList()
        }
    }
    check(following.await() == listOf("2", odd)) { following.await() }
    check(proconf.follow("endedRoom").toList().isEmpty())
    fails(400) { runBlocking { proconf.follow(" ").first() } }
}

/** A guest has access to its own room only, and joins again when its token has expired. */
fun testGuest() {
    val guest = Proconf(base)
    guest.joinAsGuest("testRoom")
    fails(403) { guest.catchUp("quietRoom") }
    fails(403) { runBlocking { guest.follow("quietRoom").first() } }
    fails(403) { guest.meetings() }
    expire(guest)
    guest.catchUp("testRoom")
}

/** Through a proxy at $BASE that loses the first response to /auth/refresh. */
fun testLostRefresh() {
    val proconf = Proconf(base)
    proconf.signIn(email, password)
    expire(proconf)
    proconf.config()
    // Its session lives on.
    proconf.config()
    println("renewed")
}

fun testEverything() {
    val proconf = Proconf("$base/")
    fails(401) { proconf.catchUp("testRoom") }
    fails(401) { proconf.signIn(email, "a wrong password") }
    proconf.signIn(email, password)
    testCatchUps(proconf)
    testOtherMethods(proconf)
    testRenewal(proconf)
    testFlows(proconf)
    testGuest()
    proconf.signOut()
    fails(401) { proconf.catchUp("testRoom") }
    println("all statements are true")
}

fun main(arguments: Array<String>) {
    try {
        if (arguments.contains("lost-refresh")) testLostRefresh() else testEverything()
    } catch (failure: Throwable) {
        failure.printStackTrace()
        exitProcess(1)
    }
    // Threads may still read streams.
    exitProcess(0)
}
